"""mtx folders as Cell Ranger, STARsolo, GEO, kb-python and alevin write them, and folders that are damaged."""

import gzip
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellmemory.cells.reading import CellFile
from cellmemory.errors import InputError
from tests.conftest import DATA, refused, succeed

CELLS, GENES = 5, 3
COUNTS = np.array([[1, 0, 2], [0, 0, 0], [0, 7, 0], [3, 0, 1], [0, 0, 9]], np.float32)
IDS = [f"ENSG{i}" for i in range(GENES)]
SYMBOLS = ["CD3E", "CD4", "CD4"]
BARCODES = [f"AAAC-{i}" for i in range(CELLS)]


def mtx(values: np.ndarray, head: str = "coordinate integer general") -> str:
    """The text of a matrix whose rows are those of `values`."""
    lines = [f"{row + 1} {column + 1} {values[row, column]:g}" for row, column in zip(*np.nonzero(values), strict=True)]
    return "\n".join(
        [f"%%MatrixMarket matrix {head}", "% a comment", f"{values.shape[0]} {values.shape[1]} {len(lines)}", *lines, ""]
    )


def table(*columns: list[str]) -> str:
    return "".join("\t".join(row) + "\n" for row in zip(*columns, strict=True))


FEATURES = table(IDS, SYMBOLS, ["Gene Expression"] * GENES)
CELL_LIST = table(BARCODES)
TEN_X = {"matrix.mtx": mtx(COUNTS.T), "features.tsv": FEATURES, "barcodes.tsv": CELL_LIST}


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    """A folder of files; those named .gz are compressed, unless they are bytes."""
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") and isinstance(content, str) else data)
    return folder


def unpacked(files: dict[str, str | bytes]) -> list[str]:
    return [gzip.decompress(text).decode() if text[:2] == b"\x1f\x8b" else text for text in files.values()]


def packed(files: dict[str, str], prefix: str = "") -> dict[str, str]:
    return {f"{prefix}{name}.gz": content for name, content in files.items()}


#: The files of a folder, how its genes are called, and whether it lists the types of its features.
FOLDERS = {
    "Cell Ranger 3": (packed(TEN_X), SYMBOLS, True),
    "STARsolo": (TEN_X, SYMBOLS, True),
    "STARsolo with shared reads": (TEN_X | {"UniqueAndMult-EM.mtx": mtx(COUNTS.T * 2)}, SYMBOLS, True),
    "Cell Ranger 2": ({"matrix.mtx": mtx(COUNTS.T), "genes.tsv": table(IDS, SYMBOLS), "barcodes.tsv": CELL_LIST}, SYMBOLS, False),
    "Cell Ranger 2, packed": (
        packed({"matrix.mtx": mtx(COUNTS.T), "genes.tsv": table(IDS, SYMBOLS), "barcodes.tsv": CELL_LIST}),
        SYMBOLS,
        False,
    ),
    "two columns": (packed(TEN_X | {"features.tsv": table(IDS, SYMBOLS)}), SYMBOLS, False),
    "unsigned": (TEN_X | {"matrix.mtx": mtx(COUNTS.T, "coordinate unsigned-integer general")}, SYMBOLS, True),
    "double": (TEN_X | {"matrix.mtx": mtx(COUNTS.T, "coordinate double general")}, SYMBOLS, True),
    "upper case": (TEN_X | {"matrix.mtx": mtx(COUNTS.T, "COORDINATE Real General")}, SYMBOLS, True),
    "a list of one run beside another's": (TEN_X | {"old_features.tsv": FEATURES * 2}, SYMBOLS, True),
    "a line without a symbol": (
        TEN_X | {"features.tsv": f"{IDS[0]}\n{IDS[1]}\tCD4\n{IDS[2]}\tCD4\n"},
        [IDS[0], "CD4", "CD4"],
        False,
    ),
    "one column": (TEN_X | {"features.tsv": table(SYMBOLS)}, SYMBOLS, False),
    "GEO": (packed(TEN_X, "GSM1_donor_"), SYMBOLS, True),
    "GEO, prefix with a dot": (packed(TEN_X, "GSM1.donor."), SYMBOLS, True),
    "text lists": ({"matrix.mtx": mtx(COUNTS.T), "genes.txt": table(SYMBOLS), "barcodes.txt": CELL_LIST}, SYMBOLS, False),
    "cells in rows": (TEN_X | {"matrix.mtx": mtx(COUNTS)}, SYMBOLS, True),
    "kb-python": (
        {
            "cells_x_genes.mtx": mtx(COUNTS, "coordinate real general"),
            "cells_x_genes.barcodes.txt": CELL_LIST,
            "cells_x_genes.genes.txt": table(IDS),
            "cells_x_genes.genes.names.txt": table(SYMBOLS),
        },
        SYMBOLS,
        False,
    ),
    "kb-python without names": (
        {"cells_x_genes.mtx": mtx(COUNTS), "cells_x_genes.barcodes.txt": CELL_LIST, "cells_x_genes.genes.txt": table(IDS)},
        IDS,
        False,
    ),
    "alevin": (
        {
            "alevin/quants_mat.mtx.gz": mtx(COUNTS, "coordinate real general"),
            "alevin/quants_mat_rows.txt": CELL_LIST,
            "alevin/quants_mat_cols.txt": table(SYMBOLS),
            "cmd_info.json": "{}",
        },
        SYMBOLS,
        False,
    ),
    "of a spreadsheet": (
        TEN_X
        | {"features.tsv": "\ufeff" + FEATURES.replace("\n", "\r\n"), "barcodes.tsv": CELL_LIST.replace("\n", "\r\n") + "\r\n\n"},
        SYMBOLS,
        True,
    ),
    "of R": (TEN_X | {"barcodes.tsv": "x\n" + "".join(f'"{name}"\n' for name in BARCODES)}, SYMBOLS, True),
    "of R, with the numbers of its lines": (
        TEN_X | {"barcodes.tsv": '"x"\n' + "".join(f'"{i}"\t"{name}"\n' for i, name in enumerate(BARCODES, 1))},
        SYMBOLS,
        True,
    ),
    "a mark before the matrix": (TEN_X | {"matrix.mtx": "\ufeff" + mtx(COUNTS.T)}, SYMBOLS, True),
    "with header lines": (
        TEN_X | {"barcodes.tsv": "barcode\n" + CELL_LIST, "features.tsv": "gene_id\tgene_name\tfeature_type\n" + FEATURES},
        SYMBOLS,
        True,
    ),
    "packed without saying so": (TEN_X | {"matrix.mtx": gzip.compress(mtx(COUNTS.T).encode())}, SYMBOLS, True),
    "said to be packed": ({f"{name}.gz": content.encode() for name, content in TEN_X.items()}, SYMBOLS, True),
    "a value in two parts": (
        TEN_X | {"matrix.mtx": mtx(COUNTS.T).replace("3 5 6\n", "3 5 7\n").replace("3 5 9\n", "3 5 4\n3 5 5\n")},
        SYMBOLS,
        True,
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_many_tools_are_read(name, tmp_path):
    files, names, typed = FOLDERS[name]
    with CellFile(write(tmp_path, files)) as file:
        np.testing.assert_array_equal(file.rows("X", 0, CELLS).toarray(), COUNTS)
        assert file.rows("X", 0, CELLS).dtype == np.float32
        assert file.var().index.tolist() == names
        assert ("feature_types" in file.var()) == typed
        assert file.var()["gene_ids"].tolist() == (IDS if IDS[0] in str(unpacked(files)) else SYMBOLS)
        assert file.names(0, CELLS).tolist() == file.obs.index.tolist() == BARCODES


def test_a_square_matrix_is_turned_by_what_its_tool_does(tmp_path):
    """Nothing else tells there, so 10x has genes in rows, and kb-python cells."""
    square = COUNTS[[0, 3, 4]]
    ten_x = write(tmp_path / "10x", TEN_X | {"matrix.mtx": mtx(square.T), "barcodes.tsv": table(BARCODES[:3])})
    kb = write(tmp_path / "kb", {"cells_x_genes.mtx": mtx(square), "cells_x_genes.barcodes.txt": table(BARCODES[:3]),
                                 "cells_x_genes.genes.txt": table(IDS)})  # fmt: skip
    for folder in (ten_x, kb):
        with CellFile(folder) as file:
            np.testing.assert_array_equal(file.rows("X", 0, 3).toarray(), square)


def test_a_folder_without_cells_opens(tmp_path):
    empty = {"matrix.mtx": mtx(np.zeros((GENES, 0))), "barcodes.tsv": ""}
    with CellFile(write(tmp_path, TEN_X | empty)) as file:
        assert (file.n_cells, len(file.var())) == (0, GENES)


HEAD = "%%MatrixMarket matrix coordinate integer general\n"
WHOLE = gzip.compress(mtx(COUNTS.T).encode())
BROKEN = {
    "nothing": (
        {"readme.txt": "x"},
        "this folder holds no matrix (.mtx or .mtx.gz). An mtx folder needs matrix.mtx, barcodes.tsv",
    ),
    "the folder above": (
        {f"{part}/{name}": content for part in ("raw", "filtered") for name, content in TEN_X.items()},
        "this folder holds no matrix, but folders of it do (filtered, raw). Give one of these.",
    ),
    "two samples": (
        packed(TEN_X, "GSM1_") | packed(TEN_X, "GSM2_"),
        "this folder holds 2 matrices (GSM1_matrix.mtx.gz, GSM2_matrix.mtx.gz). Give a folder with one of them.",
    ),
    "packed and not": (TEN_X | packed(TEN_X), "this folder holds 2 matrices (matrix.mtx, matrix.mtx.gz)"),
    "velocities": ({"spliced.mtx": "", "unspliced.mtx": ""}, "this folder holds 2 matrices (spliced.mtx, unspliced.mtx)"),
    "no genes": (
        {"matrix.mtx": mtx(COUNTS), "barcodes.tsv": CELL_LIST},
        "this folder lists no genes for matrix.mtx. Put the list next to the matrix, and call it features.tsv (or genes.tsv).",
    ),
    "no cells": (
        {"matrix.mtx": mtx(COUNTS), "genes.tsv": FEATURES},
        "this folder lists no cells for matrix.mtx. Put the list next to the matrix, and call it barcodes.tsv.",
    ),
    "two lists of genes": (
        TEN_X | {"genes.tsv": FEATURES},
        "this folder holds 2 lists of genes for matrix.mtx (features.tsv, genes.tsv)",
    ),
    "EDS": ({"quants_mat.gz": b"\x1f\x8b"}, "this folder holds alevin's binary matrix (quants_mat.gz), which cannot be read."),
    "EDS below": ({"alevin/quants_mat.gz": b"\x1f\x8b"}, "this folder holds alevin's binary matrix"),
    "Parse": (
        {"DGE.mtx": mtx(COUNTS), "all_genes.csv": "", "cell_metadata.csv": ""},
        "this folder holds a matrix of Parse Biosciences, which cannot be read. Write the cells as .h5ad",
    ),
    "zarr": ({".zgroup": "{}"}, "this folder holds a zarr store, which cannot be read. Read it with anndata"),
    "fewer cells": (
        TEN_X | {"barcodes.tsv": table(BARCODES[:4])},
        "matrix.mtx has 3 rows and 5 columns, but features.tsv lists 3 genes and barcodes.tsv 4 cells. Give",
    ),
    "a cell more, not a header": (
        TEN_X | {"barcodes.tsv": "TTTG-1\n" + CELL_LIST},
        "but features.tsv lists 3 genes and barcodes.tsv 6",
    ),
    "a header, and a gene too few": (
        TEN_X | {"features.tsv": "gene_id\tgene_name\tfeature_type\n" + "".join(FEATURES.splitlines(keepends=True)[:-1])},
        "matrix.mtx has 3 rows and 5 columns, but features.tsv lists 2 genes and barcodes.tsv 5 cells. Give",
    ),
    "a line without a gene": (TEN_X | {"features.tsv": "ENSG0\n\nENSG2\n"}, "features.tsv has lines without a gene (1)."),
    "genes not UTF-8": (
        TEN_X | {"features.tsv": FEATURES.encode().replace(b"CD3E", b"CD\xff")},
        "features.tsv is not a text file in UTF-8 (line 1). Get it again",
    ),
    "gzip cut": (
        {"matrix.mtx.gz": WHOLE[:-12], **packed({k: TEN_X[k] for k in ("features.tsv", "barcodes.tsv")})},
        "matrix.mtx.gz is incomplete or damaged",
    ),
    "gzip damaged": (
        {"matrix.mtx.gz": WHOLE[:20] + b"????" + WHOLE[24:], "features.tsv": FEATURES, "barcodes.tsv": CELL_LIST},
        "matrix.mtx.gz is",
    ),
    "list cut": (TEN_X | {"barcodes.tsv": gzip.compress(CELL_LIST.encode())[:-10]}, "barcodes.tsv is incomplete or damaged"),
    "lines cut": (
        TEN_X | {"matrix.mtx": mtx(COUNTS.T)[:-12]},
        "matrix.mtx is incomplete or damaged (its head says 6 values, but there are 4). Get it again.",
    ),
    "a line cut": (TEN_X | {"matrix.mtx": mtx(COUNTS.T)[:-3]}, "matrix.mtx is incomplete or damaged"),
    "more lines than said": (TEN_X | {"matrix.mtx": mtx(COUNTS.T) + "1 1 5\n"}, "matrix.mtx is incomplete or damaged"),
    "a line of the list cut": (
        TEN_X | {"features.tsv": FEATURES.replace(f"{IDS[1]}\tCD4\tGene Expression", f"{IDS[1]}\tCD4")},
        f"features.tsv says of some lines what they are (genes, antibodies), and 1 end before it (the first is '{IDS[1]}').",
    ),
    "a number beyond all": (TEN_X | {"matrix.mtx": mtx(COUNTS.T).replace("2 3 7", "2 3 1e400")}, "(the line '2 3 1e400' is not"),
    "row beyond": (
        TEN_X | {"matrix.mtx": mtx(COUNTS.T).replace("3 5 9", "4 5 9")},
        "(the line '4 5 9' is not a row, a column and a value of 3 rows and 5 columns)",
    ),
    "row of zero": (TEN_X | {"matrix.mtx": mtx(COUNTS.T).replace("3 5 9", "0 5 9")}, "matrix.mtx is incomplete or damaged"),
    "text for a number": (TEN_X | {"matrix.mtx": mtx(COUNTS.T).replace("3 5 9", "3 5 x")}, "(the line '3 5 x' is not a row"),
    "no number": (TEN_X | {"matrix.mtx": mtx(COUNTS.T).replace("3 5 9", "3 5 nan")}, "(the line '3 5 nan' is not a row"),
    "NUL behind a number": (
        TEN_X | {"matrix.mtx": mtx(COUNTS.T).replace("3 5 9", "3 5 9\x007")},
        r"(the line '3 5 9\x007' is not a row",
    ),
    "NUL in a blank": (
        TEN_X | {"matrix.mtx": mtx(COUNTS.T).replace("3 5 9", "3 5\x00 9")},
        r"(the line '3 5\x00 9' is not a row",
    ),
    "a number more": (TEN_X | {"matrix.mtx": mtx(COUNTS.T).replace("3 5 9", "3 5 9 4")}, "(the line '3 5 9 4' is not a row"),
    "a number fewer": (
        TEN_X | {"matrix.mtx": mtx(COUNTS.T).replace("3 5 9", "3 5")},
        "(the line '3 5' is not a row, a column and",
    ),
    "row of a fraction": (
        TEN_X | {"matrix.mtx": mtx(COUNTS.T).replace("3 5 9", "2.5 5 9")},
        "matrix.mtx is incomplete or damaged",
    ),
    "what crashes scipy's mmread": (
        TEN_X | {"matrix.mtx": mtx(COUNTS.T).replace("\n2 3 7", "\x132 3 7").replace("3 5 9\n", "3 5 9>")},
        "matrix.mtx is incomplete or damaged",
    ),
    "a cell without a name": (
        TEN_X | {"barcodes.tsv": CELL_LIST.replace(BARCODES[1] + "\n", "\n")},
        "barcodes.tsv has lines without a cell (1). Get the file again.",
    ),
    "not a matrix": (
        TEN_X | {"matrix.mtx": "gene,cell\n"},
        "matrix.mtx is not a matrix (it does not begin with %%MatrixMarket).",
    ),
    "empty": (TEN_X | {"matrix.mtx": ""}, "matrix.mtx is not a matrix"),
    "head alone": (TEN_X | {"matrix.mtx": HEAD}, "matrix.mtx does not say how many rows, columns and values it has."),
    "two numbers": (TEN_X | {"matrix.mtx": HEAD + "3 5\n"}, "matrix.mtx does not say how many"),
    "no values but places": (
        TEN_X | {"matrix.mtx": mtx(COUNTS.T, "coordinate pattern general")},
        "matrix.mtx has a kind that is not read (coordinate pattern general).",
    ),
    "complex": (
        TEN_X | {"matrix.mtx": mtx(COUNTS.T, "coordinate complex general")},
        "has a kind that is not read (coordinate complex",
    ),
    "symmetric": (TEN_X | {"matrix.mtx": mtx(COUNTS.T, "coordinate real symmetric")}, "has a kind that is not read"),
    "array": (
        TEN_X | {"matrix.mtx": "%%MatrixMarket matrix array real general\n1 1\n1\n"},
        "has a kind that is not read (array",
    ),
    "10^12 values": (
        TEN_X | {"matrix.mtx": HEAD + f"3 5 {10**12}\n1 1 1\n"},
        "matrix.mtx cannot hold as many values as its head says (1,000,000,000,000).",
    ),
    "10^15 cells": (
        TEN_X | {"matrix.mtx": HEAD + f"3 {10**15} 1\n1 1 1\n"},
        "matrix.mtx has 3 rows and 1,000,000,000,000,000 columns",
    ),
    "no features at all": (TEN_X | {"matrix.mtx": mtx(np.zeros((0, CELLS))), "features.tsv": ""}, "this file has no genes"),
}


def test_values_that_stand_there_twice_are_counted(tmp_path, caplog):
    folder = write(tmp_path, FOLDERS["a value in two parts"][0])
    with caplog.at_level("WARNING", "cellmemory"):
        CellFile(folder).close()
    assert "1 values are of a cell and a gene that have one already; they are summed" in caplog.text


@pytest.mark.parametrize("name", BROKEN)
def test_folders_that_cannot_be_read(name, tmp_path):
    files, cause = BROKEN[name]
    with pytest.raises(InputError) as error:
        CellFile(write(tmp_path, files))
    (problem,) = error.value.problems
    assert problem.startswith(f"{tmp_path}: ")
    assert problem.removeprefix(f"{tmp_path}: ").startswith(cause) or cause in problem
    assert problem.endswith(".")
    assert "\n" not in problem


def test_a_folder_is_preprocessed_as_the_h5ad_of_its_cells(tmp_path):
    cells = ad.read_h5ad(DATA / "unseen_type.h5ad")
    cells.X = sp.csr_matrix(np.round(np.expm1(cells.X.toarray())))
    cells.write_h5ad(tmp_path / "cells.h5ad")
    ids = [f"ENSG{i:011d}" for i in range(cells.n_vars)]
    lists = {"matrix.mtx": mtx(cells.X.toarray().T), "features.tsv": table(ids, list(cells.var_names)),
             "barcodes.tsv": table(list(cells.obs_names))}  # fmt: skip
    write(tmp_path / "folder", packed(lists, "GSM1_donor_"))
    columns = {"rank": np.arange(1, cells.n_vars + 1), "mean": 1.0, "dispersion": 1.0}
    panel = pd.DataFrame({"gene": cells.var_names, "source_id": cells.var_names} | columns)
    panel.to_csv(tmp_path / "panel.tsv", sep="\t", index=False)
    found = {}
    for name in ("cells.h5ad", "folder"):
        succeed("preprocess_query", "--query", name, "--panel", "panel.tsv", "--output", "o.h5ad", "--alignment", "o.json",
                folder=tmp_path)  # fmt: skip
        found[name] = ad.read_h5ad(tmp_path / "o.h5ad")
    assert found["folder"].obs_names.tolist() == found["cells.h5ad"].obs_names.tolist()
    np.testing.assert_array_equal(found["folder"].X.toarray(), found["cells.h5ad"].X.toarray())
    assert found["folder"].X.nnz > 1000


def test_the_check_names_what_is_wrong_with_folders(tmp_path):
    write(tmp_path / "cut", BROKEN["lines cut"][0])
    write(tmp_path / "negative", TEN_X | {"matrix.mtx": mtx(-COUNTS.T)})
    (tmp_path / "sheet.csv").write_text("sample,h5ad\na,cut\nb,negative\n")
    found = refused("check_inputs", "--samplesheet", "sheet.csv", "--reference", DATA / "reference.h5ad", "--label_key",
                    "cell_type", "--output", "i.json", "--query_genes", "g.tsv", folder=tmp_path)  # fmt: skip
    assert found[0].startswith("cut: matrix.mtx is incomplete or damaged (")
    assert found[1].startswith("negative: X holds negative values (scaled data)")
    assert len(found) == 2
