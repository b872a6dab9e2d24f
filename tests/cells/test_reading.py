"""Files that are damaged, locked, of another kind or of another tool: each is read rightly, or refused in one sentence."""

import errno
import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata.io import write_elem

from cellmemory.cells import probe
from cellmemory.cells.faults import reading
from cellmemory.cells.reading import CellFile
from cellmemory.cells.writing import H5adWriter
from cellmemory.errors import InputError
from tests.conftest import DATA, ROOT, refused

CELLS, GENES = 9, 6
VALUES = np.random.default_rng(0).poisson(1.0, (CELLS, GENES)).astype(np.float32)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """A small whole h5ad with all that is read: X and raw as CSR, a layer as CSC, one dense, obs of several encodings."""
    obs = pd.DataFrame(
        {"batch": pd.Categorical(list("aabbaabba")), "score": np.arange(CELLS) / 2, "note": [f"n{i}" for i in range(CELLS)]},
        index=[f"cell{i}" for i in range(CELLS)],
    )
    cells = ad.AnnData(sp.csr_matrix(VALUES), obs, pd.DataFrame(index=[f"gene{i}" for i in range(GENES)]))
    cells.raw = cells.copy()
    cells.layers["columns"], cells.layers["dense"] = sp.csc_matrix(VALUES), VALUES
    cells.obsm["spatial"] = np.zeros((CELLS, 2))
    path = tmp_path_factory.mktemp("plain") / "plain.h5ad"
    cells.write_h5ad(path)
    return path


def read_all(path: Path) -> dict[str, np.ndarray]:
    """Everything that a CellFile reads, as the pipeline asks for it; returns its matrices in full."""
    with CellFile(path) as file:
        assert len(file.names(0, file.n_cells)) == len(file.obs) == file.n_cells
        assert set(file.columns) == set(file.obs.columns)
        found = {}
        for name in file.matrices:
            found[name] = np.vstack([rows.toarray() for _, rows in file.chunks(name, 4)])
            assert found[name].shape == (file.n_cells, len(file.var(name)))
        for key in file.obsm:
            assert len(file.embedding(key)) == file.n_cells
        return found


def sentence(path: Path) -> str:
    """The one sentence that refuses a file."""
    with pytest.raises(InputError) as error:
        read_all(path)
    (problem,) = error.value.problems
    assert problem.startswith(f"{path}: ")
    assert problem.endswith(".")
    assert "\n" not in problem
    return problem


def changed(plain: Path, folder: Path, change) -> Path:
    """A copy of the small file, changed by `change(file)`."""
    path = Path(shutil.copy(plain, folder / "query.h5ad"))
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def put(name, value, **options):
    """A change: an array in the place of what has that name; its attributes stay."""

    def change(file):
        attributes = dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, data=value, **options).attrs.update(attributes)

    return change


def edit(name, function):
    """A change: an array becomes `function(array)`."""
    return lambda file: put(name, function(file[name][()]))(file)


def attribute(name, key, value):
    def change(file):
        if value is None:
            del file[name].attrs[key]
        else:
            file[name].attrs[key] = value

    return change


def without(name):
    return lambda file: file.__delitem__(name)


def at(place, value):
    """For `edit`: one number of an array becomes another."""

    def change(array):
        array = array.copy()
        array[place] = value
        return array

    return change


def claims(name, n):
    """A change: an array that claims n values, none of which was written."""

    def change(file):
        attributes, dtype = dict(file[name].attrs), file[name].dtype
        del file[name]
        file.create_dataset(name, shape=(n,), chunks=(1000,), dtype=dtype).attrs.update(attributes)

    return change


def changes(*several):
    return lambda file: [change(file) for change in several]


#: What is done to the file, and the sentence's cause.
DAMAGES = {
    "index too large": (edit("X/indices", at(3, 999)), "X/indices has a value that is not from 0 to 5 (999)"),
    "index negative": (edit("X/indices", at(3, -7)), "X/indices has a value that is not from 0 to 5 (-7)"),
    "index beyond the genes by one": (edit("X/indices", at(-1, GENES)), "X/indices has a value"),
    "raw index": (edit("raw/X/indices", at(0, 10**6)), "raw/X/indices has a value"),
    "csc index": (edit("layers/columns/indices", at(0, CELLS)), "layers/columns/indices has a value that is not from 0 to 8"),
    "csc index negative": (edit("layers/columns/indices", at(0, -1)), "layers/columns/indices has a value"),
    "indices short": (edit("X/indices", lambda a: a[:-4]), "X/indices has"),
    "data short": (edit("X/data", lambda a: a[:-4]), "X/data has"),
    "csc data short": (edit("layers/columns/data", lambda a: a[:-4]), "layers/columns/data has"),
    "indptr falls": (edit("X/indptr", at(4, 0)), "X/indptr does not rise"),
    "indptr starts late": (edit("X/indptr", at(0, 1)), "X/indptr does not rise"),
    "indptr negative": (edit("X/indptr", at(0, -5)), "X/indptr does not rise"),
    "indptr beyond": (edit("X/indptr", at(-1, 10**6)), "X/indices has"),
    "indptr huge and unsigned": (edit("X/indptr", lambda a: at(-1, 2**64 - 1)(a.astype(np.uint64))), "X/indices has"),
    "data goes on": (edit("X/data", lambda a: np.r_[a, 7]), "X/data has 41 values, but X/indptr counts 40"),
    "indices go on": (edit("X/indices", lambda a: np.r_[a, 999]), "X/indices has 41 values, but X/indptr counts 40"),
    "indptr that leaves values out": (edit("X/indptr", lambda a: np.minimum(a, a[4])), "values, but X/indptr counts"),
    "last row cut": (edit("X/indptr", at(-1, 1)), "X/indptr does not rise"),
    "indptr short": (edit("X/indptr", lambda a: a[:-1]), "X/indptr has 9 numbers, but 10 are needed"),
    "indptr long": (edit("X/indptr", lambda a: np.r_[a, a[-1]]), "X/indptr has 11 numbers"),
    "csc indptr short": (edit("layers/columns/indptr", lambda a: a[:-1]), "layers/columns/indptr has 6 numbers"),
    "indptr of fractions": (edit("X/indptr", lambda a: a + 0.5), "X/indptr holds numbers with a fraction (dtype float64)"),
    "indices of fractions": (edit("X/indices", lambda a: a * 1.0), "X/indices holds numbers with a fraction"),
    "indptr empty": (edit("X/indptr", lambda a: a[:0]), "X/indptr has 0 numbers"),
    "indptr of two dimensions": (edit("X/indptr", lambda a: a[None]), "X/indptr is missing or not a list"),
    "data is a number": (put("X/data", 1.0), "X/data is missing or not a list"),
    "data is text": (edit("X/data", lambda a: a.astype("S3")), "X/data holds text"),
    "data is complex": (edit("X/data", lambda a: a * 1j), "X/data holds complex numbers"),
    "no data": (without("X/data"), "X/data is missing"),
    "no indices": (without("X/indices"), "X/indices is missing"),
    "no indptr": (without("X/indptr"), "X/indptr is missing"),
    "data is a group": (changes(without("X/data"), lambda file: file.create_group("X/data")), "X/data is missing"),
    "data claims 10^12": (claims("X/data", 10**12), "X/data was not written to its end"),
    "indptr claims 10^12": (claims("X/indptr", 10**12), "X/indptr was not written to its end"),
    "shape of 10^15": (attribute("X", "shape", [10**15, GENES]), "X has the shape (1000000000000000, 6), but 9 cells"),
    "shape of other genes": (attribute("X", "shape", [CELLS, 7]), "X has the shape (9, 7), but 9 cells and 6 genes"),
    "shape turned": (attribute("layers/columns", "shape", [GENES, CELLS]), "layers/columns has the shape (6, 9)"),
    "shape of one number": (attribute("X", "shape", [CELLS]), "X has the shape (9), but"),
    "shape is text": (attribute("X", "shape", "nine"), "X has the shape (nine), but"),
    "no shape": (attribute("X", "shape", None), "X has the shape (), but"),
    "raw of other genes": (attribute("raw/X", "shape", [CELLS, 99]), "raw/X has the shape (9, 99)"),
    "no encoding": (attribute("X", "encoding-type", None), "X has an encoding that is not of a matrix (none)"),
    "unknown encoding": (attribute("X", "encoding-type", "coo_matrix"), "an encoding that is not of a matrix ('coo_matrix')"),
    "encoding is a number": (attribute("X", "encoding-type", 3), "X has an encoding that is not of a matrix ('3')"),
    "a table as a layer": (lambda file: file.copy("obs", "layers/table"), "layers/table has an encoding"),
    "a type as X": (changes(without("X"), lambda file: file.__setitem__("X", np.dtype("f4"))), "X has an encoding"),
    "dense of text": (put("layers/dense", VALUES.astype("S4")), "layers/dense holds text"),
    "dense of strings": (put("layers/dense", VALUES.astype(str).astype(object), dtype=h5py.string_dtype()), "holds text"),
    "dense of complex": (put("layers/dense", VALUES * 1j), "layers/dense holds complex numbers"),
    "dense of records": (put("layers/dense", np.zeros((CELLS, GENES), [("a", int), ("b", int)])), "layers/dense holds records"),
    "dense of one dimension": (put("layers/dense", VALUES[0]), "layers/dense has the shape (6)"),
    "dense of three dimensions": (put("layers/dense", VALUES[None]), "layers/dense has the shape (1, 9, 6)"),
    "dense of no dimension": (put("layers/dense", 1.0), "layers/dense has the shape ()"),
    "dense and turned": (put("layers/dense", VALUES.T), "layers/dense has the shape (6, 9)"),
    "dense of 10^12 rows": (
        changes(without("X"), lambda file: file.create_dataset("X", shape=(10**12, GENES), chunks=(1000, GENES), dtype="f4")),
        "X has the shape (1000000000000, 6)",
    ),
    "obs of 10^12 cells": (claims("obs/_index", 10**12), "obs/_index was not written to its end"),
    "var of 10^12 genes": (claims("var/_index", 10**12), "var/_index was not written to its end"),
    "column of 10^12 cells": (claims("obs/score", 10**12), "obs/score was not written to its end"),
    "codes of 10^12 cells": (claims("obs/batch/codes", 10**12), "obs/batch was not written to its end"),
    "obs without _index": (attribute("obs", "_index", None), "obs has no index ('_index')"),
    "obs without its index": (without("obs/_index"), "obs has no index"),
    "_index is a number": (attribute("obs", "_index", 5), "obs has no index"),
    "var without _index": (attribute("var", "_index", None), "var has no index"),
    "raw/var without _index": (attribute("raw/var", "_index", None), "raw/var has no index"),
    "no raw/var": (without("raw/var"), "raw/var is missing or not a table"),
    "obs without its columns' names": (attribute("obs", "column-order", None), "obs has no list of its columns"),
    "obs without encoding": (attribute("obs", "encoding-type", None), "obs is missing or not a table"),
    "obs of anndata 0.6": (changes(without("obs"), lambda file: file.__setitem__("obs", np.zeros(3))), "anndata before 0.7"),
    "column that is gone": (without("obs/score"), "obs lacks columns that it lists ('score')"),
    "column too short": (edit("obs/score", lambda a: a[:-1]), "obs/score has 8 values, but obs has 9 rows"),
    "column too long": (edit("obs/score", lambda a: np.r_[a, a]), "obs/score has 18 values"),
    "codes too short": (edit("obs/batch/codes", lambda a: a[:-1]), "obs/batch has 8 values, but obs has 9 rows"),
    "codes out of range": (edit("obs/batch/codes", at(2, 77)), "obs cannot be read (codes need to be between -1 and"),
    "codes below -1": (edit("obs/batch/codes", at(2, -2)), "obs cannot be read (codes need to be between -1 and"),
    "no categories": (without("obs/batch/categories"), "obs cannot be read ("),
    "categories twice": (
        put("obs/batch/categories", np.array(["a", "a"], object), dtype=h5py.string_dtype()),
        "obs cannot be read (Categorical categories must be unique)",
    ),
    "column of an unknown encoding": (attribute("obs/note", "encoding-type", "poem"), "obs cannot be read ("),
    "cells not UTF-8": (put("obs/_index", np.array([b"\xffoo"] * CELLS, object), dtype=h5py.string_dtype()), "not UTF-8"),
    "column not UTF-8": (
        put("obs/note", np.array([b"M\xfcller"] * CELLS, object), dtype=h5py.string_dtype()),
        "obs holds text that is not UTF-8",
    ),
    "genes not UTF-8": (
        put("var/_index", np.array([b"g\xe9n"] * GENES, object), dtype=h5py.string_dtype()),
        "var holds text that is not UTF-8",
    ),
    "columns' names not UTF-8": (
        lambda file: file["obs"].attrs.create("column-order", np.array([b"\xff"], object), dtype=h5py.string_dtype()),
        "not UTF-8",
    ),
    "no genes": (
        changes(
            *(without(name) for name in ("X", "layers", "raw")),
            without("var"),
            lambda file: write_elem(file, "var", pd.DataFrame(index=pd.Index([], dtype=object))),
        ),
        "this file has no genes",
    ),
    "coordinates too short": (put("obsm/spatial", np.zeros((3, 2))), "obsm/spatial is not a table of numbers"),
    "coordinates of text": (put("obsm/spatial", np.full((CELLS, 2), b"x")), "obsm/spatial is not a table of numbers"),
    "coordinates of one dimension": (put("obsm/spatial", np.zeros(CELLS)), "obsm/spatial is not a table of numbers"),
    "coordinates of 10^12 columns": (
        changes(
            without("obsm/spatial"),
            lambda file: file.create_dataset("obsm/spatial", shape=(CELLS, 10**12), chunks=(CELLS, 1000), dtype="f4"),
        ),
        "obsm/spatial was not written to its end",
    ),
    "sparse coordinates with an index too large": (
        changes(
            without("obsm/spatial"),
            lambda file: write_elem(file, "obsm/spatial", sp.csr_matrix(np.ones((CELLS, 2)))),
            edit("obsm/spatial/indices", at(0, 10**9)),
        ),
        "obsm/spatial/indices has a value that is not from 0 to 1 (1,000,000,000)",
    ),
    "sparse coordinates of other cells": (
        changes(without("obsm/spatial"), lambda file: write_elem(file, "obsm/spatial", sp.csr_matrix(np.ones((3, 2))))),
        "obsm/spatial has the shape (3, 2), but 9 cells",
    ),
    "coordinates of nothing": (put("obsm/spatial", h5py.Empty("f4")), "obsm/spatial is not a table of numbers"),
    "MuData": (
        lambda file: [file.create_group(f"mod/{name}") for name in ("rna", "prot")],
        "it is a MuData file (.h5mu)). Write the modality with the RNA as .h5ad; there are: prot, rna.",
    ),
    "no var": (without("var"), "this HDF5 file is not an h5ad (it has no obs and var)"),
    "obs is a dead link": (
        changes(without("obs"), lambda file: file.__setitem__("obs", h5py.SoftLink("/nowhere"))),
        "is missing or not a table",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(damage, plain, tmp_path):
    change, cause = DAMAGES[damage]
    assert cause in sentence(changed(plain, tmp_path, change))


def retyped(dtype):
    return put("layers/dense", VALUES.astype(dtype))


#: What looks odd and means the same.
ODD = {
    **{f"dense {dtype}": retyped(dtype) for dtype in ("f2", "f4", "f8", ">f4", "i1", "i8", "u1", "u8")},
    **{f"data {dtype}": edit("X/data", lambda a, d=dtype: a.astype(d)) for dtype in ("f2", "f8", "u1", "i8", ">i4")},
    **{f"indices {dtype}": edit("X/indices", lambda a, d=dtype: a.astype(d)) for dtype in ("u1", "i8", "u8", ">i4")},
    **{f"indptr {dtype}": edit("X/indptr", lambda a, d=dtype: a.astype(d)) for dtype in ("u1", "i8", "u8", ">i4")},
    "numbers as names": changes(put("obs/_index", np.arange(CELLS)), attribute("obs/_index", "encoding-type", "array")),
    "no X": without("X"),
    "a null X": put("X", h5py.Empty("f4")),
    "no layers": without("layers"),
    "layers are an array": changes(without("layers"), lambda file: file.__setitem__("layers", 3)),
    "no obsm": without("obsm"),
    "a dead link as a layer": lambda file: file.__setitem__("layers/gone", h5py.SoftLink("/nowhere")),
    "no columns": changes(
        *(without(f"obs/{name}") for name in ("batch", "score", "note")),
        attribute("obs", "column-order", np.zeros(0)),
    ),
    "no uns": without("uns"),
    "uns is an array": changes(without("uns"), lambda file: file.__setitem__("uns", 3)),
    "no raw": without("raw"),
    "cells of one name": put("obs/_index", np.array(["same"] * CELLS, object), dtype=h5py.string_dtype()),
    "index is a column": attribute("obs", "_index", "note"),
    "sparse coordinates": changes(
        without("obsm/spatial"), lambda file: write_elem(file, "obsm/spatial", sp.csr_matrix(np.ones((CELLS, 2))))
    ),
    "compressed": put("layers/dense", VALUES, compression="gzip", chunks=(2, 3)),
}


@pytest.mark.parametrize("oddity", ODD)
def test_what_is_odd_but_whole_is_read(oddity, plain, tmp_path):
    found = read_all(changed(plain, tmp_path, ODD[oddity]))
    assert found
    for values in found.values():
        np.testing.assert_array_equal(values, VALUES)
        assert values.dtype == np.float32


def test_booleans_are_zeros_and_ones(plain, tmp_path):
    found = read_all(changed(plain, tmp_path, put("layers/dense", VALUES > 0)))
    np.testing.assert_array_equal(found["layers/dense"], VALUES > 0)


def test_values_that_are_listed_twice_are_summed(plain, tmp_path):
    def twice(file):
        for part in ("data", "indices"):
            put(f"X/{part}", np.repeat(file[f"X/{part}"][:], 2))(file)
        put("X/indptr", file["X/indptr"][:] * 2)(file)

    np.testing.assert_array_equal(read_all(changed(plain, tmp_path, twice))["X"], 2 * VALUES)


def test_a_file_without_cells_opens(plain, tmp_path):
    ad.read_h5ad(plain)[:0].copy().write_h5ad(tmp_path / "empty.h5ad")
    with CellFile(tmp_path / "empty.h5ad") as file:
        assert (file.n_cells, len(file.obs), len(file.var())) == (0, 0, GENES)


def test_several_problems_come_at_once(plain, tmp_path):
    path = changed(plain, tmp_path, changes(edit("obs/score", lambda a: a[:-1]), without("obs/note"), without("var/_index")))
    with pytest.raises(InputError) as error:
        CellFile(path)
    assert [re.search(r": (\S+)", problem)[1] for problem in error.value.problems] == ["obs", "obs/score", "var"]


@pytest.mark.parametrize(("index", "first"), [("note", "n0"), ("score", "0.0"), ("_index", "cell0")])
def test_an_index_that_is_a_column_as_well_is_written_again(index, first, plain, tmp_path):
    def both(file):
        file["obs"].attrs["_index"] = index
        if index == "_index":
            file["obs"].attrs["column-order"] = [*file["obs"].attrs["column-order"], index]

    with CellFile(changed(plain, tmp_path, both)) as file, H5adWriter(tmp_path / "out.h5ad", GENES) as writer:
        writer.write("obs", file.obs)
        writer.write("var", file.var())
    with CellFile(tmp_path / "out.h5ad") as file:
        assert file.names(0, 1).tolist() == [first]
        assert set(file.columns) == {"batch", "score", "note"}


SHUFFLED = """
import resource, sys
from pathlib import Path
import numpy as np
from tests.cells.test_reading import read_all
from cellmemory.errors import InputError
resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
whole, target = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
rng = np.random.default_rng(int(sys.argv[3]))
for attempt in range(100):
    data = bytearray(whole)
    if attempt % 4 == 0:
        data = data[: rng.integers(1, len(data))]
    else:
        # Not in the values alone: most of a file this small is structure.
        for place in rng.integers(0, len(data), 1 + attempt % 5):
            data[place] = rng.integers(256)
    target.write_bytes(data)
    try:
        read_all(target)
        print("read")
    except InputError as error:
        print("refused")
        assert "\\n" not in error.problems[0]
"""


def test_bytes_that_were_cut_off_or_overwritten(plain, tmp_path):
    """In a process of its own, since HDF5 itself may crash."""
    command = [sys.executable, "-c", SHUFFLED, plain, tmp_path / "shuffled.h5ad", "0"]
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "bin")))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr
    assert done.stdout.split().count("refused") > 40
    assert len(done.stdout.split()) == 100


# What is not an h5ad file at all, or cannot be opened


def test_what_cannot_be_opened(plain, tmp_path):
    whole = plain.read_bytes()
    (tmp_path / "cut.h5ad").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "empty.h5ad").touch()
    (tmp_path / "packed.h5ad").write_bytes(b"\x1f\x8b\x08" + whole)
    (tmp_path / "zip.h5ad").write_bytes(b"PK\x03\x04" + whole)
    (tmp_path / "matrix.mtx").write_text("%%MatrixMarket matrix coordinate integer general\n")
    (tmp_path / "text.h5ad").write_text("cells")
    (tmp_path / "folder.h5ad").mkdir()
    os.mkfifo(tmp_path / "pipe.h5ad")
    os.symlink("nowhere", tmp_path / "link.h5ad")
    with h5py.File(tmp_path / "loom.h5", "w") as file:
        file["matrix"], file["row_attrs"] = VALUES, 1
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["x"] = 1
    expected = {
        "cut.h5ad": "this file is incomplete (a broken download or copy). Get it again.",
        "empty.h5ad": "this file is empty (0 bytes). Get it again.",
        "packed.h5ad": "this is not an h5ad file (it is compressed with gzip). Decompress it with gunzip.",
        "zip.h5ad": "this is not an h5ad file (it is a zip archive). Unpack it.",
        "matrix.mtx": "this is not an h5ad file (it is one file of an mtx folder). Give the folder.",
        "text.h5ad": "this is not an h5ad file (it is not HDF5). Give an .h5ad, a 10x .h5 or a 10x mtx folder.",
        "folder.h5ad": "this folder holds no matrix (.mtx or .mtx.gz). An mtx folder needs",
        "pipe.h5ad": "this is not a file but a pipe, socket or device.",
        "link.h5ad": "there is no such file.",
        "text.h5ad/x": "there is no such file.",
        "loom.h5": "this HDF5 file is not an h5ad (it is a loom file).",
        "plain.h5": "this HDF5 file is not an h5ad (it has no obs and var).",
    }
    for name, cause in expected.items():
        assert sentence(tmp_path / name).startswith(f"{tmp_path / name}: {cause}")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        assert "pipe, socket or device" in sentence(tmp_path / "s")
    assert "pipe, socket or device" in sentence(Path("/dev/null"))


def test_a_file_that_is_open_for_writing_elsewhere(plain, tmp_path):
    path = Path(shutil.copy(plain, tmp_path / "open.h5ad"))
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another program has this file open for writing. Close it there" in sentence(path)
        assert "HDF5_USE_FILE_LOCKING=FALSE" in sentence(path)
    assert read_all(path)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (PermissionError(13, "Permission denied"), "(permission denied). Change its permissions"),
        (OSError("Unable to synchronously open file (unable to lock file, errno = 37, error message = 'No locks available')"),
         "this file cannot be locked, since its file system lacks locks. Set HDF5_USE_FILE_LOCKING=FALSE"),
        (OSError("Can't synchronously read data (can't open directory (/usr/local/hdf5/lib/plugin). Please)"),
         "compressed in a way that is not installed here. Write it again with compression='gzip'."),
        (OSError("Can't synchronously read data (required filter 'zstd' is not registered)"), "compressed in a way"),
        (OSError("Can't synchronously read data (Input/output error)"), "this file cannot be read (Can't sync"),
    ],
)  # fmt: skip
def test_errors_of_the_system_are_named(error, cause, plain, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(h5py, "File", fail)
    assert cause in sentence(plain)


def test_memory_that_ran_out_is_not_the_files_fault(plain, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(h5py, "File", fail)
    with pytest.raises(MemoryError):
        CellFile(plain)


def unknown_filter(file):
    """The dense layer as a file has it that was compressed by zstd, which is not installed."""
    attributes = dict(file["layers/dense"].attrs)
    del file["layers/dense"]
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((CELLS, GENES))
    properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple((CELLS, GENES))
    stored = h5py.Dataset(h5py.h5d.create(file["layers"].id, b"dense", h5py.h5t.IEEE_F32LE, space, properties))
    stored.id.write_direct_chunk((0, 0), b"compressed", 0)
    stored.attrs.update(attributes)


def test_a_compression_that_is_not_installed(plain, tmp_path):
    path = changed(plain, tmp_path, unknown_filter)
    assert "compressed in a way that is not installed here. Write it again with compression='gzip'." in sentence(path)


# 10x .h5


def ten_x(path: Path, group: str = "matrix", old: bool = False, **changes) -> Path:
    """A 10x .h5 of the values; changes: parts by name, None to leave one out."""
    turned = sp.csr_matrix(VALUES)
    parts = {
        "data": turned.data.astype(np.int32),
        "indices": turned.indices.astype(np.int64),
        "indptr": turned.indptr.astype(np.int64),
        "shape": np.array([GENES, CELLS], np.int32),
        "barcodes": np.array([f"AAAC-{i}" for i in range(CELLS)], "S"),
    }
    names, ids = (np.array([f"{kind}{i}" for i in range(GENES)], "S") for kind in ("gene", "ENSG"))
    if old:
        parts |= {"gene_names": names, "genes": ids}
    else:
        types = np.array(["Gene Expression"] * 5 + ["Antibody Capture"], "S")
        parts |= {"features/name": names, "features/id": ids, "features/feature_type": types,
                  "features/genome": np.array(["GRCh38"] * GENES, "S")}  # fmt: skip
    with h5py.File(path, "a") as file:
        for name, value in (parts | {name.replace("__", "/"): value for name, value in changes.items()}).items():
            if value is not None:
                file[f"{group}/{name}"] = value
    return path


@pytest.mark.parametrize("name", ["x.h5", "x.h5ad", "x", "x.hdf5"])
def test_files_are_told_apart_by_what_they_hold(name, plain, tmp_path):
    np.testing.assert_array_equal(read_all(ten_x(tmp_path / name))["X"], VALUES)
    (tmp_path / name).unlink()
    assert set(read_all(Path(shutil.copy(plain, tmp_path / name)))) == {"X", "raw", "layers/columns", "layers/dense"}


def test_10x_of_any_age(tmp_path):
    with CellFile(ten_x(tmp_path / "new.h5")) as file:
        assert list(file.var().columns) == ["gene_ids", "feature_types", "genome"]
        assert list(file.var().index[:2]) == ["gene0", "gene1"]
        assert list(file.names(0, 2)) == ["AAAC-0", "AAAC-1"]
        assert file.columns == []
    with CellFile(ten_x(tmp_path / "old.h5", "GRCh38", old=True)) as file:
        assert list(file.var()["gene_ids"][:2]) == ["ENSG0", "ENSG1"]
        np.testing.assert_array_equal(file.rows("X", 0, CELLS).toarray(), VALUES)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"features__name": None, "features__id": None, "features__feature_type": None, "features__genome": None},
         "this 10x file lists no features (genes)"),
        ({"features__id": None}, "matrix/features/id is missing"),
        ({"features__name": np.array(["a"], "S")}, "names, ids and types differ in number"),
        ({"barcodes": np.array(["a"], "S")}, "matrix has the shape (6, 9), but 6 features and 1 barcodes are listed"),
        ({"shape": None}, "matrix has the shape (), but"),
        ({"barcodes": np.array([b"\xff"] * CELLS, "S")}, "not UTF-8"),
        ({"indices": np.full(int((VALUES > 0).sum()), GENES)}, "matrix/indices has a value that is not from 0 to 5 (6)"),
        ({"data": None}, "matrix/data is missing"),
        ({"features__genome": np.array(["GRCh38"] * 3 + ["mm10"] * 3, "S"),
          "features__name": np.array([f"GRCh38_{i}" for i in range(3)] + [f"mm10_{i}" for i in range(3)], "S")},
         "this 10x file holds 2 genomes (GRCh38, mm10). Write the cells and genes of one as .h5ad."),
    ],
)  # fmt: skip
def test_10x_files_that_are_damaged(changes, cause, tmp_path):
    assert cause in sentence(ten_x(tmp_path / "x.h5", **changes))


def test_10x_files_of_two_genomes(tmp_path):
    ten_x(tmp_path / "x.h5", "hg19", old=True)
    assert "this 10x file holds 2 genomes (hg19, mm10)" in sentence(ten_x(tmp_path / "x.h5", "mm10", old=True))
    genomes = np.array(["GRCh38"] * 5 + ["virus"], "S")
    np.testing.assert_array_equal(read_all(ten_x(tmp_path / "y.h5", features__genome=genomes))["X"], VALUES)


# Through the scripts


def test_the_check_names_the_problems_of_all_files(plain, tmp_path):
    whole = (DATA / "unseen_type.h5ad").read_bytes()
    (tmp_path / "cut.h5ad").write_bytes(whole[: len(whole) * 2 // 3])
    os.mkfifo(tmp_path / "pipe.h5ad")
    shutil.copy(DATA / "unseen_type.h5ad", tmp_path / "codes.h5ad")
    with h5py.File(tmp_path / "codes.h5ad", "r+") as file:
        edit("obs/author_label/codes", at(0, 99))(file)
    (tmp_path / "sheet.csv").write_text(
        "sample,h5ad,truth_key\na,cut.h5ad,\nb,pipe.h5ad,\nc,codes.h5ad,author_label\nd,no.h5ad,\n"
    )
    found = refused("check_inputs", "--samplesheet", "sheet.csv", "--reference", DATA / "reference.h5ad", "--label_key",
                    "cell_type", "--output", "i.json", "--query_genes", "g.tsv", folder=tmp_path)  # fmt: skip
    assert [line.split(": ")[0] for line in found] == ["cut.h5ad", "pipe.h5ad", "codes.h5ad", "no.h5ad"]
    assert "incomplete" in found[0]
    assert "codes need to be between" in found[2]


def preprocessed(query: Path, panel: Path, folder: Path) -> list[object]:
    return ["preprocess_query", "--query", query, "--panel", panel, "--output", folder / "o.h5ad",
            "--alignment", folder / "o.json"]  # fmt: skip


def test_an_index_out_of_range_crashes_nothing(tmp_path):
    """Beyond the cells that are looked at to know what the values are."""
    genes = ad.read_h5ad(DATA / "reference.h5ad").var_names
    columns = {"rank": np.arange(1, len(genes) + 1), "mean": 1.0, "dispersion": 1.0}
    pd.DataFrame({"gene": genes, "source_id": genes} | columns).to_csv(tmp_path / "panel.tsv", sep="\t", index=False)
    values = sp.csr_matrix(np.random.default_rng(0).poisson(1.0, (2000, len(genes))).astype(np.float32))
    ad.AnnData(values, var=pd.DataFrame(index=genes)).write_h5ad(tmp_path / "query.h5ad")
    with h5py.File(tmp_path / "query.h5ad", "r+") as file:
        file["X/indices"][file["X/indptr"][300]] = 2**30
    (found,) = refused(*preprocessed(tmp_path / "query.h5ad", tmp_path / "panel.tsv", tmp_path))
    assert "X/indices has a value that is not from 0 to 764 (1,073,741,824), so X is damaged" in found
    assert not (tmp_path / "o.h5ad").exists()


def cyclic(path: Path) -> Path:
    """A file in which a node of a chunk index is its own child: HDF5 crashes where it lists the chunks."""
    with h5py.File(path, "w") as file:
        for name in ("obs", "var"):
            file.create_dataset(f"{name}/values", data=np.arange(1000.0), chunks=(10,))
    content = bytearray(path.read_bytes())
    inner = [i for i in range(len(content)) if content[i : i + 6] == b"TREE\x01\x01"]
    assert inner  # an inner node of an index of chunks
    header, key = 24, 24
    content[inner[0] + header + key : inner[0] + header + key + 8] = inner[0].to_bytes(8, "little")
    path.write_bytes(content)
    return path


def test_a_file_that_would_crash_the_library_is_refused_by_a_sentence(tmp_path: Path):
    path = cyclic(tmp_path / "damaged.h5ad")
    with pytest.raises(InputError, match=r"^\S+damaged.h5ad: this file is damaged inside its HDF5 structure"):
        CellFile(path)


def test_a_file_that_keeps_the_library_busy_is_refused_after_a_while(plain: Path, monkeypatch: pytest.MonkeyPatch):
    def never_return(_element: object) -> None:
        while True:
            pass

    monkeypatch.setattr(probe, "CPU_SECONDS", 1)
    monkeypatch.setattr(probe, "_look_at", never_return)
    with pytest.raises(InputError, match="more than 1 s of processor time to look through this file"):
        CellFile(plain)


#: Runs a script whose first walk through a file is killed, as the system kills for memory.
KILLED = """
import os, runpy, signal, sys
sys.path.insert(0, sys.argv[1])
from cellmemory.cells import probe
probe._look_at = lambda element: os.kill(os.getpid(), signal.SIGKILL)
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_walk_that_is_killed_for_memory_does_not_blame_the_file(plain: Path, tmp_path: Path):
    panel = tmp_path / "panel.tsv"
    panel.write_text("gene\trank\tmean\tdispersion\tsource_id\ngene0\t1\t1\t1\t\n")
    step = [
        ROOT / "bin" / "preprocess_query.py",
        "--query",
        plain,
        "--panel",
        panel,
        "--output",
        "o.h5ad",
        "--alignment",
        "a.json",
    ]
    command = [sys.executable, "-c", KILLED, str(ROOT / "bin"), *map(str, step)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        137,
        "Error: there is not enough memory for this input. Run it where there is more.\n",
    )


def test_memory_that_the_system_does_not_give_is_no_fault_of_a_file():
    with pytest.raises(MemoryError), reading(Path("cells.h5ad")):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")
