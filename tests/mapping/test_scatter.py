"""Slices of a query, and gathering them: the same file as from one task, and no other than all cells, each once."""

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from cellmemory.errors import InputError
from cellmemory.mapping import cell_ranges, gathering
from cellmemory.mapping.cell_ranges import CellRange
from cellmemory.mapping.mapper import MappingSettings, map_query
from cellmemory.mapping.slots import SlotSums
from cellmemory.network.runtime import configure
from cellmemory.network.tokens import Tokens
from cellmemory.reference import trained_model
from cellmemory.reference.calibration import DoubtSettings
from tests.conftest import DATA, refused, succeed

CELLS = 195


class Mapping:
    """Maps one query, whole or in slices, without starting an interpreter each time."""

    def __init__(self, folder: Path, model: Path, query: Path):
        self.folder, self.query = folder, query
        self.trained, self.runtime = trained_model.load(model), configure("cpu", "fp32", 1, seed=0)

    def map(self, name: str, cells: str | None = None, doubt: DoubtSettings | None = None, attention: bool = True) -> Path:
        """The mapped file (with cells: the slice), with the labels beside it."""
        output = self.folder / f"{name}.h5ad"
        settings = MappingSettings(doubt or DoubtSettings(), attention, cells)
        map_query(self.query, self.trained, settings, self.runtime, output=output, labels=output.with_suffix(".csv"))
        return output

    def gather(self, slices: list[Path], name: str = "gathered") -> Path:
        """The gathered file, with the labels beside it."""
        output = self.folder / f"{name}.h5ad"
        gathering.gather(self.query, self.trained, slices, output=output, labels=output.with_suffix(".csv"), threads=1)
        return output

    def problems(self, slices: list[Path]) -> list[str]:
        """What `gather` refuses these slices for; it must leave nothing behind."""
        with pytest.raises(InputError) as error:
            self.gather(slices, "refused")
        assert not list(self.folder.glob("*refused*"))
        return error.value.problems


@pytest.fixture(scope="module")
def query(aligned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test query with what users' files have besides: coordinates, numbers, text with gaps, nullable columns."""
    cells = ad.read_h5ad(aligned / "unseen_type.aligned.h5ad")
    rng = np.random.default_rng(0)
    cells.obs["depth"] = rng.normal(size=CELLS)
    cells.obs["donor"] = pd.Series(rng.choice(["a", "b"], CELLS), cells.obs_names).mask(rng.random(CELLS) < 0.1)
    cells.obs["visit"] = pd.array(rng.integers(0, 3, CELLS), dtype="Int64")
    cells.obsm["spatial"] = rng.normal(size=(CELLS, 2))
    path = tmp_path_factory.mktemp("query") / "q.aligned.h5ad"
    cells.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def run(model: Path, query: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping:
    return Mapping(tmp_path_factory.mktemp("scatter"), model, query)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 64 cells: so few cells as the test data have would be one block otherwise."""
    monkeypatch.setattr(cell_ranges, "BLOCK_CELLS", 64)


@pytest.fixture(scope="module")
def whole(run: Mapping) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_ranges, "BLOCK_CELLS", 64)
        return run.map("whole")


@pytest.fixture(scope="module")
def slices(run: Mapping) -> list[Path]:
    """Slices that respect no block: the second and third share the block 64 to 128, the first is two cells."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_ranges, "BLOCK_CELLS", 64)
        return [run.map(f"slice{i}", cells) for i, cells in enumerate((":2", "2:70", "70:130", "130:"))]


def arrays(path: Path) -> dict[str, tuple]:
    """Every array and attribute of an h5ad by its name, as text: NaN is like NaN."""
    found = {}

    def keep(name: str, item: h5py.Group | h5py.Dataset) -> None:
        attributes = {key: np.asarray(value).tolist() for key, value in item.attrs.items()}
        values = item[()] if isinstance(item, h5py.Dataset) else None
        found[name] = (attributes, str(getattr(item, "dtype", "")), repr(np.asarray(values).tolist()))

    with h5py.File(path) as file:
        file.visititems(keep)
    return found


def test_gathered_slices_are_the_unscattered_file_bit_for_bit(run, whole, slices):
    gathered = run.gather([slices[2], slices[0], slices[3], slices[1]])
    expected, found = arrays(whole), arrays(gathered)
    assert expected.keys() == found.keys()
    assert [name for name in expected if expected[name] != found[name]] == []
    assert gathered.read_bytes() == whole.read_bytes()
    assert gathered.with_suffix(".csv").read_bytes() == whole.with_suffix(".csv").read_bytes()


def test_what_is_gathered_is_a_whole_mapped_query(run, query, slices):
    found, source = ad.read_h5ad(run.gather(slices)), ad.read_h5ad(query)
    assert found.obs_names.tolist() == source.obs_names.tolist()
    assert list(found.obs.columns[:4]) == ["author_label", "depth", "donor", "visit"]
    assert (found.X != source.X).nnz == 0
    np.testing.assert_array_equal(found.obsm["spatial"], source.obsm["spatial"])
    np.testing.assert_array_equal(found.obs["depth"], source.obs["depth"])
    assert found.obs["donor"].astype(object).fillna("").tolist() == source.obs["donor"].astype(object).fillna("").tolist()
    assert found.obs["visit"].tolist() == source.obs["visit"].tolist()
    assert found.obsm["X_umap"].shape == (CELLS, 2)
    assert np.isfinite(found.obsm["X_umap"]).all()


def test_a_slice_opens_as_an_h5ad_of_its_cells(query, whole, slices):
    part, all_cells = ad.read_h5ad(slices[1]), ad.read_h5ad(whole)[2:70]
    assert part.obs_names.tolist() == all_cells.obs_names.tolist()
    assert "X_umap" not in part.obsm
    np.testing.assert_array_equal(part.obsm["X_cellmemory"], all_cells.obsm["X_cellmemory"])
    np.testing.assert_array_equal(part.layers["attention"].toarray(), all_cells.layers["attention"].toarray())
    assert part.obs["cellmemory_label_set"].tolist() == all_cells.obs["cellmemory_label_set"].tolist()
    labels = pd.read_csv(slices[1].with_suffix(".csv"), index_col="cell")
    assert labels["cellmemory_label"].tolist() == all_cells.obs["cellmemory_label"].tolist()


def test_without_attention_too(run):
    whole = run.map("plain", attention=False)
    parts = [run.map(f"plain{i}", cells, attention=False) for i, cells in enumerate(("0:100", "100:195"))]
    assert run.gather(parts, "plain_gathered").read_bytes() == whole.read_bytes()


def test_all_that_is_wrong_with_slices_is_said_at_once(run, slices, whole):
    first, second, third, last = slices
    assert run.problems([second, last]) == [
        "No slice has the cells 0:2; map them with map_query.py --cells 0:2, and give all slices.",
        "No slice has the cells 70:130; map them with map_query.py --cells 70:130, and give all slices.",
    ]
    overlapping = run.map("overlapping", "60:100")
    assert run.problems([first, second, third, last, overlapping]) == [
        f"{overlapping}: cells 60:70 are in {second} already; give each cell once.",
        f"{third}: cells 70:100 are in {overlapping} already; give each cell once.",
    ]
    assert run.problems([first, second, second, third, last]) == [
        f"{second}: cells 2:70 are in {second} already; give each cell once."
    ]
    other = run.map("other", "130:", DoubtSettings(0.2), attention=False)
    sentence, missing = run.problems([first, second, other])
    assert sentence.startswith(f"{other}: this slice was mapped otherwise (novelty_alpha 0.2, not 0.05; without attention)")
    assert "70:130" in missing
    assert "this is not a slice of a mapped query" in run.problems([first, whole])[0]


def test_slices_of_another_model_or_query_are_refused(run, slices, model, query, aligned, tmp_path):
    other_model = tmp_path / "model"
    succeed("train", "--reference", aligned / "reference.h5ad", "--panel", aligned / "panel.tsv", "--label_key", "cell_type",
            "--output", other_model, "--max_epochs", 1, "--threads", 1, "--seed", 1, "--d_model", 8, "--n_layers", 1)  # fmt: skip
    by_other = Mapping(tmp_path, other_model, query).map("by_other", "130:")
    assert run.problems([*slices[:3], by_other]) == [
        f"{by_other}: this slice was mapped with another model than {model}; map it again with that."
    ]
    cells = ad.read_h5ad(query)
    cells.obs_names = [*cells.obs_names[:150], "stranger", *cells.obs_names[151:]]
    cells.write_h5ad(tmp_path / "renamed.h5ad")
    renamed = Mapping(tmp_path, model, tmp_path / "renamed.h5ad").map("renamed_slice", "130:")
    (sentence,) = run.problems([*slices[:3], renamed])
    assert sentence.startswith(f"{renamed}: this slice comes from another query: cell 150 is 'stranger' here")
    cells[:150].write_h5ad(tmp_path / "shorter.h5ad")
    shorter = Mapping(tmp_path, model, tmp_path / "shorter.h5ad").map("shorter_slice", "130:")
    assert f"{shorter}: this slice comes from a query of 150 cells" in run.problems([*slices[:3], shorter])[0]


def test_slices_of_other_values_under_the_same_names_are_refused(run, slices, model, aligned, tmp_path):
    """A query that was changed in place after some slices were mapped."""
    cells = ad.read_h5ad(DATA / "unseen_type.h5ad")
    cells.X = cells.X[::-1].copy()
    cells.write_h5ad(tmp_path / "unseen_type.h5ad")
    changed = tmp_path / "unseen_type.aligned.h5ad"
    succeed("preprocess_query", "--query", tmp_path / "unseen_type.h5ad", "--sample", "unseen_type", "--truth_key",
            "author_label", "--panel", aligned / "panel.tsv", "--output", changed,
            "--alignment", tmp_path / "a.json")  # fmt: skip
    of_changed = Mapping(tmp_path, model, changed).map("of_changed", "130:")
    (sentence,) = run.problems([*slices[:3], of_changed])
    assert sentence.startswith(f"{of_changed}: this slice was mapped otherwise (values_digest ")


def test_a_slice_is_not_taken_for_a_mapped_query(slices, tmp_path):
    (sentence,) = refused("extract_tags", "--mapped", slices[1], "--tags", tmp_path / "t.tsv", "--slot_tags", tmp_path / "s.tsv")
    assert "join all slices first with gather.py" in sentence


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ("5-9", "write START:STOP"),
        ("5", "write START:STOP"),
        ("-5:9", "write START:STOP"),
        ("a:b", "write START:STOP"),
        ("٣:٩", "write START:STOP"),  # digits to Python, too
        ("", "write START:STOP"),
        ("0:196", "the query has 195 cells; STOP is at most 195"),
        ("195:", "START less than that"),
        ("9:5", "START must be less than STOP"),
        ("0:0", "START must be less than STOP"),
    ],
)
def test_cells_that_are_none_are_refused(cells, words):
    with pytest.raises(InputError, match="--cells") as error:
        CellRange.parse(cells, CELLS)
    assert words in str(error.value)


def test_novelty_depends_on_the_other_cells_only_where_their_shift_is_taken_out(run, whole):
    """Nothing else of a cell does; without it a cell is as novel as alone."""
    plain = run.map("unshifted", doubt=DoubtSettings(novelty_shift=False))
    tables = [pd.read_csv(path.with_suffix(".csv"), index_col="cell") for path in (whole, plain)]
    changed = [name for name in tables[0] if not tables[0][name].equals(tables[1][name])]
    assert set(changed) <= {"cellmemory_novelty", "cellmemory_novelty_p", "cellmemory_status", "cellmemory_reason"}
    assert "cellmemory_novelty" in changed
    with h5py.File(plain) as file:
        assert not file["uns/cellmemory/novelty_shift"][()]
    part = run.map("unshifted_part", "3:9", DoubtSettings(novelty_shift=False)).with_suffix(".csv")
    pd.testing.assert_frame_equal(pd.read_csv(part, index_col="cell"), tables[1][3:9])


def test_the_scripts_slice_and_gather(model, query, whole, tmp_path):
    """By the command line, and with blocks as they are: labels as above but for rounding."""
    for cells in (":80", "80:"):
        succeed("map_query", "--query", query, "--model", model, "--output", tmp_path / f"{cells}.h5ad", "--cells", cells,
                "--threads", 1)  # fmt: skip
    log = succeed("gather", "--query", query, "--model", model, "--slice", tmp_path / "80:.h5ad", "--slice",
                  tmp_path / ":80.h5ad", "--output", tmp_path / "m.h5ad", "--labels", tmp_path / "m.csv")  # fmt: skip
    assert "Joined 2 slices of 195 cells" in log
    succeed("map_query", "--query", query, "--model", model, "--output", tmp_path / "whole.h5ad", "--labels",
            tmp_path / "whole.csv", "--threads", 1)  # fmt: skip
    assert (tmp_path / "m.h5ad").read_bytes() == (tmp_path / "whole.h5ad").read_bytes()
    assert (tmp_path / "m.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    (sentence,) = refused("map_query", "--query", query, "--model", model, "--output", tmp_path / "x.h5ad")
    assert "--labels is missing" in sentence


def test_slot_sums_are_the_same_in_any_order():
    rng = np.random.default_rng(0)
    gene, one = rng.integers(0, 9, 400).astype(np.int32), np.ones(400)
    tokens = Tokens(np.arange(0, 401, 4), gene, one.astype(np.uint8), one.astype(np.float32), np.ones(9, bool))
    label = rng.integers(0, 3, 100)
    write, read = (rng.random((400, 2)).astype(np.float32) ** 8 for _ in range(2))
    together, apart = SlotSums.zeros(3, 2, 9, read=True), SlotSums.zeros(3, 2, 9, read=True)
    together.add(label, tokens, write, read)
    for cells in np.array_split(rng.permutation(100), 7):
        rows = tokens.positions(cells)
        one = SlotSums.zeros(3, 2, 9, read=True)
        one.add(label[cells], tokens.select(cells), write[rows], read[rows])
        apart.add_sums(one)
    for name in ("write", "read", "expressing", "cells"):
        np.testing.assert_array_equal(getattr(together, name), getattr(apart, name))
    group, gene = np.repeat(label, 4) == 1, tokens.gene == 5
    exact = write[group & gene, 1].sum(dtype=np.float64) / (label == 1).sum()
    np.testing.assert_allclose(together.varm()["cellmemory_slot_write"][5, 1 * 2 + 1], exact, rtol=1e-6)
