"""REPORT: the page and MultiQC's content from files, and the parts they are made of. In a browser: test_report_browser.py."""

import base64
import html
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import example, given
from hypothesis import strategies as st

from cellmemory import sampling
from cellmemory.clusters import clustering
from cellmemory.columns import STATUSES
from cellmemory.errors import InputError, Problems
from cellmemory.explanation.extraction import TagSettings, extract
from cellmemory.genes.quality import QUALITY_COLUMNS
from cellmemory.io.tables import write_table
from cellmemory.reference import trained_model
from cellmemory.reference.run_info import RunInfo
from cellmemory.report import blocks, colours, data, page, points
from cellmemory.report.sections import conditions, quality, summary, tags, truth
from cellmemory.report.tables import JSON_FIELDS, TESTED_CELLS
from cellmemory.report.wording import EXPLAINED, percent
from tests.conftest import ROOT, refused, succeed
from tests.made.report_inputs import NASTY, NASTY_CELLS, UNSEEN, Inputs, make_inputs, write_page

SECTIONS = (
    "summary",
    "labels",
    "map",
    "spatial",
    "markers",
    "clusters",
    "truth",
    "conditions",
    "quality",
    "tags",
    "enrichment",
    "inputs",
    "confidence",
    "sets",
)
SECTIONS += ("slots", "training", "about")
CLUSTER_TABLES = ("clusters", "cluster_markers", "cell_clusters")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A run of two samples with everything that a report can show."""
    return make_inputs(tmp_path_factory.mktemp("inputs"), spatial=True)


@pytest.fixture(scope="module")
def run_page(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of that run; beside it MultiQC's content in mqc, and figures."""
    folder = tmp_path_factory.mktemp("run")
    outputs = ("--output", folder / "report.html", "--mqc_dir", folder / "mqc", "--figures_dir", folder / "figures")
    succeed("report", *inputs.arguments(), *outputs)
    return folder / "report.html"


@pytest.fixture(scope="module")
def nasty_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of one sample whose labels try to be what they are not."""
    return write_page(tmp_path_factory.mktemp("nasty"), samples=("reduced_panel",), rename=NASTY)


def embedded(path: Path) -> dict:
    """The JSON inside a page."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text()).group(1))


def unpack(packed: dict) -> np.ndarray:
    """What `points.pack` packed."""
    return np.frombuffer(base64.b64decode(packed["data"]), "<" + packed["type"])


# The page as a file


def test_the_page_is_one_file_that_loads_nothing(run_page: Path):
    text = run_page.read_text()
    assert len(text) < 15_000_000
    markup = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert all(link.startswith("#") for link in re.findall(r"""\b(?:src|href)=["']?([^"' >]*)""", markup))
    assert "@import" not in markup
    assert "url(" not in markup
    assert "default-src 'none'" in markup
    assert tuple(re.findall(r'<section id="([^"]*)"', markup)) == SECTIONS
    assert {"composition", "tags", "faithfulness", "slots", "enrichment", "confusion"} <= set(embedded(run_page)["figures"])


def test_the_same_inputs_give_the_same_page(inputs: Inputs, run_page: Path, tmp_path: Path):
    outputs = ("--output", tmp_path / "again.html", "--mqc_dir", tmp_path, "--figures_dir", tmp_path / "figures")
    succeed("report", *inputs.arguments(), *outputs)
    assert (tmp_path / "again.html").read_bytes() == run_page.read_bytes()
    for path in (run_page.parent / "figures").iterdir():
        assert path.read_bytes() == (tmp_path / "figures" / path.name).read_bytes(), path.name


def test_what_is_not_given_is_said(tmp_path: Path):
    made = make_inputs(tmp_path, samples=("reduced_panel",), attention=False, truth=False, extras=False)
    succeed("report", *made.arguments(), "--output", tmp_path / "bare.html", "--mqc_dir", tmp_path / "mqc")
    text = (tmp_path / "bare.html").read_text()
    for reason in (
        "has spatial coordinates",
        "No TAG table",
        "no slot attention",
        "No enrichment table",
        "queries were not clustered",
        "No true labels",
    ):
        assert re.search(rf"<p>[^<]*{reason}", text, re.IGNORECASE), reason
    assert embedded(tmp_path / "bare.html")["cells"]["genes"]["attention"] is None


def test_a_cluster_that_may_be_new_is_told_at_once_and_counts_under_no_label(tmp_path: Path):
    made = make_inputs(tmp_path, samples=("unseen_type",), extras=False)
    cells = ad.read_h5ad(made.mapped[0])
    unseen = (cells.obs["author_label"] == UNSEEN).to_numpy()
    third = unseen & (np.arange(cells.n_obs) % 3 == 0)
    cells.obs.loc[third, ["cellmemory_status", "cellmemory_reason"]] = "unassigned", "unlike the reference"
    cells.write_h5ad(made.mapped[0])
    tables = {name: tmp_path / f"unseen_type.{name}.{'csv' if name == 'cell_clusters' else 'tsv'}" for name in CLUSTER_TABLES}
    given = [part for name, path in tables.items() for part in (f"--{name}", path)]
    succeed("cluster", "--mapped", made.mapped[0], "--model", made.model, *given, "--threads", 1)
    succeed("report", *made.arguments(), *given, "--output", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    summary = text[text.index('<section id="summary"') : text.index('<section id="labels"')]
    said = re.findall(r"unseen_type, cluster (\d+) \((\d+) cells\) may be a type that the reference lacks. ([^<]*)", summary)[0]
    table = pd.read_csv(tables["clusters"], sep="\t", dtype={"cluster": str}).set_index("cluster")
    assert int(said[1]) == table.loc[said[0], "n_cells"]
    assert "beyond the reference's cells of their labels" in html.unescape(said[2])
    figure = embedded(tmp_path / "report.html")["figures"]["cluster_labels"]["variants"][""]["data"][0]
    rows, columns, shares = figure["meta"]["rows"], figure["meta"]["columns"], np.array(figure["z"])
    np.testing.assert_allclose(shares.sum(0), 1, atol=0.01)
    status = ad.read_h5ad(made.mapped[0]).obs["cellmemory_status"].to_numpy(str)
    of_new = pd.read_csv(tables["cell_clusters"], dtype=str)["cellmemory_cluster"].to_numpy() == said[0]
    found = shares[rows.index("(unassigned)"), columns.index(said[0])]
    assert found == pytest.approx((status[of_new] == "unassigned").mean(), abs=0.01)
    verdicts = {row[0]: row[1:] for row in embedded(tmp_path / "report.html")["tables"]["verdicts"]["rows"]}
    obs = ad.read_h5ad(made.mapped[0]).obs
    candidates = table.index[table["candidate"] == "yes"]
    is_new = pd.read_csv(tables["cell_clusters"], dtype=str)["cellmemory_cluster"].isin(candidates).to_numpy()
    used = obs["cellmemory_label"][(status == "assigned") & ~is_new].value_counts()
    assert {label: row[-2] for label, row in verdicts.items()} == {label: used[label] for label in verdicts}
    assert "don't use" in {row[0] for row in verdicts.values()}
    bars = embedded(tmp_path / "report.html")["figures"]["composition"]["variants"]["0,1"]["data"]
    new = {trace["name"]: trace["x"] for trace in bars}["(perhaps new)"]
    assert new == [table.loc[table["candidate"] == "yes", "n_cells"].sum()]
    points = {column["title"]: column for column in embedded(tmp_path / "report.html")["cells"]["columns"]}
    assert points["Cluster"]["levels"] == list(table.index)


def test_clusters_in_a_state_of_their_own_keep_their_labels(tmp_path: Path):
    made = make_inputs(tmp_path, samples=("unseen_type",), attention=False)
    path = tmp_path / "unseen_type.clusters.tsv"
    table = pd.read_csv(path, sep="\t", dtype={"cluster": str}, keep_default_na=False)
    table["candidate"], table["excess_genes"] = (
        ["state"] * 2 + ["no"] * (len(table) - 2),
        ["GENE1;GENE2", "GENE3;GENE1", *table["excess_genes"][2:]],
    )
    table.to_csv(path, sep="\t", index=False)
    succeed("report", *made.arguments(), "--output", tmp_path / "report.html")
    text = html.unescape((tmp_path / "report.html").read_text())
    n = sum(map(int, table["n_cells"][:2]))
    assert f"unseen_type, clusters 1 and 2 ({n} cells) may be in a state that the reference lacks." in text
    assert "but they express GENE1, GENE3, GENE2 beyond the reference's cells." in text
    found = embedded(tmp_path / "report.html")
    assert any("may be in a state that the reference lacks" in row[2] for row in found["tables"]["verdicts"]["rows"])
    bars = found["figures"]["composition"]["variants"]["0,1"]["data"]
    assert {trace["name"] for trace in bars if "pattern" in trace["marker"]} == {"(ambiguous)", "(unassigned)"}
    assert "(perhaps new)" not in {trace["name"] for trace in found["figures"]["composition"]["variants"]["0,1"]["data"]}


def test_warnings_about_a_query_and_levels_of_labels_are_shown(tmp_path: Path):
    made = make_inputs(tmp_path, samples=("reduced_panel",), levels=True)
    cells = ad.read_h5ad(made.mapped[0])
    cells.uns["cellmemory"]["alarms"] = np.array(["Half of the cells are <far> from home."], object)
    cells.write_h5ad(made.mapped[0])
    (metrics,) = made.options["metrics"]
    levels = [{"level": name, "accuracy": 0.97, "macro_f1": 0.91} for name in ("lineage", "cell_type")]
    answers = [{"level": name, "share": 0.3125, "accuracy": 0.875} for name in ("none", "lineage", "cell_type")]
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"hierarchy": {"levels": levels, "answers": answers}}))
    (inputs,) = made.options["inputs"]
    inputs.write_text(json.dumps(json.loads(inputs.read_text()) | {"warnings": ["terms.tsv names no label."]}))
    succeed("report", *made.arguments(), "--output", tmp_path / "a.html", "--mqc_dir", tmp_path / "mqc")
    text, found = (tmp_path / "a.html").read_text(), embedded(tmp_path / "a.html")
    assert "terms.tsv names no label." in text
    assert "reduced_panel: Half of the cells are &lt;far&gt; from home." in text
    table = found["tables"]["levels"]
    assert [row[-5:] for row in table["rows"]] == [[name, 0.97, 0.91, 0.3125, 0.875] for name in ("lineage", "cell_type")]
    columns = {column["title"]: column for column in found["cells"]["columns"]}
    assert "level cell_type" not in columns  # the label itself
    assert "" not in columns["answer"]["levels"]
    assert (unpack(columns["answer"]["codes"]) == 65535).sum() == (cells.obs["cellmemory_answer"] == "").sum()
    # A lineage has the colour of its largest child, on the map and in the bars.
    shade = dict(zip(found["cells"]["colours"]["labels"], found["cells"]["colours"]["values"], strict=True))
    lineage = columns["level lineage"]
    assert dict(zip(lineage["levels"], lineage["colours"], strict=True)) == {name: shade[name] for name in lineage["levels"]}
    assert shade["monocytes and kin"] == shade["Dendritic"]


def test_a_run_with_several_references_says_where_they_agree(inputs: Inputs, run_page: Path, tmp_path: Path):
    pair = {"first": "pbmc", "second": "tis<sue>", "cells": 80, "agreeing": 60, "agreement": 0.75}
    pair["labels"] = [{"first": "B", "second": "B", "cells": 60}, {"first": "T", "second": "T cell", "cells": 20}]
    made = []
    for sample, warnings in (("reduced_panel", []), ("unseen_type", ["unseen_type: no label in common."])):
        status = {"agreed": 60, "split": 20, "single": 15, "unassigned": 10}
        summary = {"sample": sample, "references": ["pbmc", "tis<sue>"], "status": status, "pairs": [pair], "warnings": warnings}
        made.append(tmp_path / f"{sample}.consensus.json")
        made[-1].write_text(json.dumps(summary))
    options = [part for path in made for part in ("--consensus", path)]
    outputs = ["--output", tmp_path / "a.html", "--mqc_dir", tmp_path / "mqc", "--figures_dir", tmp_path / "figures"]
    succeed("report", *inputs.arguments(), *options, *outputs)
    text, found = (tmp_path / "a.html").read_text(), embedded(tmp_path / "a.html")
    assert '<section id="references"' in text
    assert '<section id="references"' not in run_page.read_text()
    assert "unseen_type: no label in common." in text
    assert found["tables"]["pairs"]["rows"][1] == ["unseen_type", "pbmc", "tis<sue>", 80, 60, 0.75]
    assert found["tables"]["differing"]["rows"][0] == ["reduced_panel", "pbmc", "tis<sue>", "T", "T cell", 20, 0.25]
    matrix = found["figures"]["agreement"]["variants"][""]["data"][0]
    assert matrix["z"] == [[1, 0.75], [0.75, 1]]
    bars = found["figures"]["consensus"]["variants"]["0"]["data"]
    assert [bar["name"] for bar in bars] == ["agreed", "split", "single", "unassigned"]
    assert {"agreement.svg", "consensus.png"} <= {path.name for path in (tmp_path / "figures").iterdir()}


def test_proportions_are_by_sample_and_condition_at_every_level(tmp_path: Path):
    made = make_inputs(tmp_path, levels=True, extras=False)
    succeed("report", *made.arguments(), "--output", tmp_path / "a.html", "--mqc_dir", tmp_path / "mqc")
    cells = pd.concat([ad.read_h5ad(path).obs for path in made.mapped], keys=["reduced_panel", "unseen_type"])
    cells["bar"] = cells.index.get_level_values(0) + ", " + cells["condition"].astype(str)
    found = embedded(tmp_path / "a.html")
    rows = {tuple(row[:4]): row[4:] for row in found["tables"]["proportions"]["rows"]}
    unassigned = cells["cellmemory_status"] == "unassigned"
    assert unassigned.any()
    for key, not_used in (("cellmemory_level_lineage", ["unassigned"]), ("cellmemory_label", ["unassigned", "ambiguous"])):
        status = cells["cellmemory_status"].astype(str)
        cells[key] = cells[key].astype(object).where(~status.isin(not_used), "(" + status + ")")
    for level, key in (("lineage", "cellmemory_level_lineage"), ("cell_type", "cellmemory_label")):
        for (bar, label), n in cells.groupby(["bar", key], observed=True).size().items():
            share = float(f"{n / (cells['bar'] == bar).sum():.5g}")
            assert rows["Sample, condition", bar, level, label] == [n, share]
    # The bars of the figure are the same numbers; the last of those of samples is the reference.
    bars = found["figures"]["lineages"]["variants"]["0,0,0"]
    assert [bars["layout"]["yaxis"]["ticktext"][i] for i in (0, -1)] == ["reduced_panel", "(reference)"]
    assert {trace["name"] for trace in bars["data"]} == {"T cells", "monocytes and kin", "others", "(unassigned)"}
    for trace in bars["data"]:
        for i, sample in enumerate(("reduced_panel", "unseen_type")):
            share = (cells.loc[sample, "cellmemory_level_lineage"] == trace["name"]).mean()
            assert trace["x"][i] == pytest.approx(share, abs=1e-4)
    assert np.sum([trace["x"] for trace in bars["data"]], axis=0) == pytest.approx(1, abs=1e-4)


def test_names_are_never_markup(nasty_page: Path):
    text = nasty_page.read_text()
    markup = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    for name in (*NASTY.values(), *NASTY_CELLS[:2]):
        assert name not in markup or name == "007"
    assert text.count("<script") == 3
    found = embedded(nasty_page)
    assert set(NASTY.values()) <= set(found["cells"]["colours"]["labels"])
    assert set(NASTY_CELLS) <= set(found["cells"]["ids"])
    for figure in found["figures"].values():
        drawn = json.dumps(figure["variants"])
        assert "<img" not in drawn
        assert "<script" not in drawn


def test_figures_are_files_too(nasty_page: Path, run_page: Path):
    """Of a sample, every figure of its page and its maps; of a run, those that are of all samples."""
    names = {path.name for path in (nasty_page.parent / "figures").iterdir()}
    of_page = [*embedded(nasty_page)["figures"], "umap.label", "umap.confidence"]
    assert names == {f"{figure}.{kind}" for figure in of_page for kind in ("svg", "pdf", "png")}
    of_run = {path.stem for path in (run_page.parent / "figures").iterdir()}
    assert of_run == {"composition", "donors", "set_sizes", "calibration", "training"}
    for name in names:
        content = (nasty_page.parent / "figures" / name).read_bytes()
        if name.endswith(".png"):
            assert content.startswith(b"\x89PNG")
        elif name.endswith(".pdf"):
            assert content.startswith(b"%PDF")
            assert b"CreationDate" not in content
        else:
            assert not [node for node in ElementTree.fromstring(content).iter() if node.tag.endswith("script")]
    words = [node.text for node in ElementTree.parse(nasty_page.parent / "figures" / "composition.svg").iter() if node.text]
    assert any(word.startswith("</script><img src=x onerror=") for word in words)
    assert any(word.startswith("Composition · ") for word in words)
    drawn = (run_page.parent / "figures" / "composition.svg").read_text()
    assert "Composition · 2 samples" in drawn
    assert any("$x$" in word or word.startswith("=cmd+'/C calc'!A0 & <b>bold") for word in words)


def test_every_heading_that_is_explained_is_one_of_a_table(run_page: Path):
    """A heading that was renamed would lose its words."""
    written = " ".join(path.read_text() for path in (ROOT / "bin/cellmemory/report/sections").glob("*.py"))
    assert [title for title in EXPLAINED if f'"{title}"' not in written] == []
    assert embedded(run_page)["explained"] == EXPLAINED


def test_tables_of_another_query_of_the_same_name_are_refused(inputs: Inputs, tmp_path: Path):
    """Names of samples are made of names of files: several lanes may have one."""
    mapped, name = inputs.mapped[1], "unseen_type"
    half = ad.read_h5ad(mapped)[:50].copy()
    half.uns["cellmemory"]["n_cells"] = 50
    half.write_h5ad(tmp_path / f"{name}.mapped.h5ad")
    given = ["--model", inputs.model, "--output", "a.html", "--mapped", tmp_path / f"{name}.mapped.h5ad"]
    for option, end in (("metrics", "json"), ("alignment", "json"), ("clusters", "tsv"), ("tags", "tsv")):
        table = mapped.parent / f"{name}.{option}.{end}"
        (sentence,) = refused("report", *given, f"--{option}", table, folder=tmp_path)
        assert re.search(rf"{table} \(--{option}\) is about \d+ cells, but {name} has 50", sentence)
    shutil.copy(mapped.parent / f"{name}.tags.tsv", tmp_path / f"{name}.b.tags.tsv")
    twice = ["--tags", mapped.parent / f"{name}.tags.tsv", "--tags", tmp_path / f"{name}.b.tags.tsv"]
    (sentence,) = refused("report", "--model", inputs.model, "--output", "a.html", "--mapped", mapped, *twice, folder=tmp_path)
    assert f"are both --tags of the sample '{name}'. Give one of them." in sentence


def test_tables_of_another_mapping_are_refused(inputs: Inputs, tmp_path: Path):
    """Of a query of the same name and number of cells, or of the same query once more with other options: each alone, and beside
    those that are right."""
    mapped, name = inputs.mapped[1], "unseen_type"
    model = trained_model.load(inputs.model)
    tables = {option: next(path for path in paths if path.name.startswith(name)) for option, paths in inputs.options.items()
              if len(paths) == 2}  # fmt: skip
    assert tables.keys() >= {
        "alignment",
        "metrics",
        "tags",
        "slot_tags",
        "contrasts",
        "faithfulness",
        "enrichment",
        *CLUSTER_TABLES,
    }
    data.read_samples([mapped], model, {option: [path] for option, path in tables.items()})
    for option, path in tables.items():
        other = tmp_path / path.name
        if path.suffix == ".json":
            other.write_text(json.dumps(json.loads(path.read_text()) | {"mapping": "1.2", "values_digest": "1"}))
        else:
            between = "," if path.suffix == ".csv" else "\t"
            pd.read_csv(path, sep=between, dtype=str, keep_default_na=False).assign(mapping="1.2").to_csv(
                other, sep=between, index=False
            )
        for some in ({option: other}, tables | {option: other}):
            with pytest.raises(InputError) as failure:
                data.read_samples([mapped], model, {option: [path] for option, path in some.items()})
            (sentence,) = failure.value.problems
            assert sentence.startswith(f"{other} (--{option}) was made of another mapped query than that of {name}")
    other = tmp_path / tables["faithfulness"].name
    pd.read_csv(tables["faithfulness"], sep="\t", dtype=str).assign(n_cells="999").to_csv(other, sep="\t", index=False)
    with pytest.raises(InputError, match=r"\(--faithfulness\) is about"):
        data.read_samples([mapped], model, {"faithfulness": [other]})
    # Nor is what names a mapping one of a file that does not know its own.
    nameless = ad.read_h5ad(mapped)
    nameless.uns["cellmemory"]["values_digest"] = ""
    nameless.write_h5ad(tmp_path / mapped.name)
    with pytest.raises(InputError, match=r"\(--tags\) was made of another mapped query"):
        data.read_samples([tmp_path / mapped.name], model, {"tags": [tables["tags"]]})


def test_tables_of_another_part_of_a_mapped_file_are_refused(inputs: Inputs, tmp_path: Path):
    """Control and stimulated cells of one mapped query: of each, or of all of them, but not of the other."""
    model, whole = trained_model.load(inputs.model), ad.read_h5ad(inputs.mapped[1])
    whole.uns["cellmemory"]["n_cells"] = whole.n_obs
    name, made = "unseen_type", {}
    for part, cells in (("one", whole[::2]), ("other", whole[1::2]), ("all", whole)):
        (folder := tmp_path / part).mkdir()
        cells.copy().write_h5ad(folder / f"{name}.mapped.h5ad")
        found = extract(folder / f"{name}.mapped.h5ad", TagSettings(top=5, permutations=0))
        made[part] = folder / f"{name}.tags.tsv"
        write_table(found.tags, made[part])

    def is_taken(part: str, tags: str) -> bool:
        problems = Problems()
        with problems.collect():
            data.read_samples([tmp_path / part / f"{name}.mapped.h5ad"], model, {"tags": [made[tags]]})
        assert all(f"{made[tags]} (--tags) was made of another mapped query than that of {name}" in text for text in problems)
        return not problems

    taken = {(part, tags): is_taken(part, tags) for part in made for tags in made}
    assert taken == {(part, tags): tags in (part, "all") for part in made for tags in made}


def test_tables_of_two_clusterings_are_refused(inputs: Inputs, tmp_path: Path):
    mapped, name = inputs.mapped[1], "unseen_type"
    clusters, markers = (mapped.parent / f"{name}.{option}.tsv" for option in ("clusters", "cluster_markers"))
    given = ("--model", inputs.model, "--output", "a.html", "--mapped", mapped, "--clusters", clusters)
    for column, value in (("n_cells", "1"), ("cluster", "99")):
        other = tmp_path / markers.name
        pd.read_csv(markers, sep="\t", dtype=str, keep_default_na=False).assign(**{column: value}).to_csv(
            other, sep="\t", index=False
        )
        (sentence,) = refused("report", *given, "--cluster_markers", other, folder=tmp_path)
        assert "its tables of clusters (--clusters) and of their markers (--cluster_markers) have other numbers of" in sentence


def test_the_report_knows_how_many_cells_are_tested():
    assert TESTED_CELLS == clustering.CLUSTERED_CELLS


def test_provenance_is_shown_as_it_is_and_its_links_lead_to_files(inputs: Inputs, tmp_path: Path):
    made = {"parameters": {"commit": "abc<1>", "threads": 2}, "nextflow": "24.10.0", "written": "2026-11-30"}
    made["links"] = {"a <b>": "samples/a b?/javascript:x.html", "All": "../../report.html"}
    (tmp_path / "made.json").write_text(json.dumps(made))
    options = ["--provenance", tmp_path / "made.json", "--output", tmp_path / "a.html", "--mqc_dir", tmp_path]
    succeed("report", *inputs.arguments(), *options)
    text = (tmp_path / "a.html").read_text()
    assert "<dd>abc&lt;1&gt;</dd>" in text
    assert "<dd>24.10.0</dd>" in text
    assert re.search(r"<p>nf-cellmemory \S+, 2026-11-30\. Method", text)
    assert '<a href="samples/a%20b%3F/javascript%3Ax.html">a &lt;b&gt;</a>' in text
    assert '<a href="../../report.html">All</a>' in text
    assert "<h3>Links</h3>" not in text


def test_genes_are_told_by_attention_contributions_expression_and_faithfulness(run_page: Path):
    tables = embedded(run_page)["tables"]
    titles = [title for title, _ in tables["tag_table"]["columns"]]
    assert {"Effect", "Adjusted p", "Contribution", "of CLS", "of linear path", "Differential"} <= set(titles)
    assert {row[titles.index("Differential")] for row in tables["tag_table"]["rows"]} >= {"yes", "no"}
    assert len(tables["deciding"]["rows"]) > 5
    gains = tables["gains"]
    place = [title for title, _ in gains["columns"]].index("Attention")
    assert all(row[place] > 0 for row in gains["rows"])
    assert {row[2] for row in tables["contrast_table"]["rows"]} == {"more", "less"}
    tests = {row[1] for row in tables["term_table"]["rows"]}
    assert tests == {"ORA", "GSEA"}
    curves = embedded(run_page)["figures"]["faithfulness"]["variants"]["0,0,0"]["data"]
    assert len(curves) == 12
    assert curves[0]["y"][0] == 1
    assert all(a >= b for a, b in zip(curves[0]["y"], curves[0]["y"][1:], strict=False))


def test_every_score_that_is_shown_is_looked_at_as_it_is_read():
    assert {key for key, *_ in truth._SCORES} <= set(JSON_FIELDS["metrics"][0]) | set(JSON_FIELDS["metrics"][1])


def test_markers_are_those_of_the_row_that_has_most(tmp_path: Path):
    made = make_inputs(tmp_path, samples=("unseen_type",), attention=False, extras=False)
    cells = ad.read_h5ad(made.mapped[0])
    unseen = (cells.obs["author_label"] == UNSEEN).to_numpy()
    cells.obs["cellmemory_label"] = np.where(unseen, cells.obs["cellmemory_label"], cells.obs["author_label"])
    cells.obs["cellmemory_status"] = np.where(unseen, "unassigned", "assigned")
    cells.write_h5ad(made.mapped[0])
    succeed("report", *made.arguments(), "--output", tmp_path / "report.html")
    figure = embedded(tmp_path / "report.html")["figures"]["markers"]["variants"][""]
    rows, genes = (figure["layout"][axis]["ticktext"] for axis in ("yaxis", "xaxis"))
    assert rows[-1] == "(unassigned)"
    dots = figure["data"][0]
    highest = {
        genes[x]: rows[y] for x, y, colour in zip(dots["x"], dots["y"], dots["marker"]["color"], strict=True) if colour == 1
    }
    assert highest.keys() == set(genes)
    of_unseen = [gene for gene, row in highest.items() if row == "(unassigned)"]
    assert of_unseen == genes[-len(of_unseen) :]
    assert {"CD79A", "CD79B", "MS4A1"} & set(of_unseen)
    values = cells.X.toarray()
    for gene in of_unseen:
        column = values[:, cells.var_names.get_loc(gene)]
        others = [column[(cells.obs["cellmemory_label"] == row).to_numpy() & ~unseen].mean() for row in rows[:-1]]
        assert column[unseen].mean() > max(others), gene


def test_known_markers_are_the_measured_genes_of_sets_that_list_markers(tmp_path: Path):
    made = make_inputs(tmp_path, samples=("reduced_panel",), attention=False, extras=False)
    cells = ad.read_h5ad(made.mapped[0])
    measured, missing = (cells.var_names[cells.var["measured"] == there].tolist() for there in (True, False))
    sets = {"<few>": [measured[3], missing[0], measured[1], measured[2]], "eight": measured[10:18], "many": measured[:40]}
    (tmp_path / "own.gmt").write_text("".join("\t".join([name, "", *genes]) + "\n" for name, genes in sets.items()))
    (tmp_path / "many.gmt").write_text("\t".join(["many", "", *measured[:5], *(f"NOT_{i}" for i in range(40))]) + "\n")
    (tmp_path / "sets.gmt").write_text("".join("\t".join([f"set {i}", "", *measured[:5]]) + "\n" for i in range(101)))
    gmts = [part for name in ("own", "many", "sets") for part in ("--gmt", tmp_path / f"{name}.gmt")]
    succeed("report", *made.arguments(), *gmts, "--output", tmp_path / "report.html")
    figure = embedded(tmp_path / "report.html")["figures"]["known_markers"]["variants"][""]
    columns = figure["layout"]["xaxis"]["ticktext"]
    assert columns[:3] == [f"&lt;few&gt;: {measured[3]}", measured[1], measured[2]]
    assert columns[3:] == [f"eight: {sets['eight'][0]}", *sets["eight"][1:6]]
    assert [line["x0"] for line in figure["layout"]["shapes"]] == [2.5]
    assert any(words.startswith(f"{measured[3]} (&lt;few&gt;) in ") for words in figure["data"][0]["hovertext"])


def test_a_query_of_fewer_genes_is_told_what_it_costs(run_page: Path):
    """400 of 765 genes, 52 %, between the 50 % and the 100 % that the model tried."""
    text = run_page.read_text()
    assert "reduced_panel measured 52% of the panel" in text
    assert "80% of the labels are right, with all genes 90%" in text
    assert "unseen_type measured" not in text


def test_where_the_truth_is_known_of_one_sample_no_other_is_offered(inputs: Inputs, tmp_path: Path):
    metrics = inputs.options["metrics"][1]
    others = [part for part in inputs.arguments() if part not in ("--metrics", *map(str, inputs.options["metrics"]))]
    succeed("report", *others, "--metrics", metrics, "--output", tmp_path / "a.html", "--mqc_dir", tmp_path / "mqc")
    figures = embedded(tmp_path / "a.html")["figures"]
    assert set(figures["confusion"]["variants"]) == {"0", "1"}, "by the choice of colour alone"
    assert set(figures["per_class"]["variants"]) == {""}


@pytest.mark.parametrize(("confidence", "shown"), [(0.9, "0.90"), (0.9949, ">0.99"), (0.9999, ">0.99"), (1.0, "1.00")])
def test_what_is_not_certain_is_not_rounded_to_it(confidence: float, shown: str):
    assert summary.near_one(confidence) == shown


# Input that is refused


def test_wrong_files_are_all_named_at_once(inputs: Inputs, tmp_path: Path):
    (tmp_path / "stranger.tags.tsv").write_text("group\trank\tgene\n")
    shutil.copy(Path(__file__).parents[1] / "data" / "reference.h5ad", tmp_path / "plain.h5ad")
    errors = refused(
        "report", "--model", inputs.model, "--mapped", inputs.mapped[0], "--mapped", inputs.mapped[0],
        "--mapped", tmp_path / "plain.h5ad", "--tags", tmp_path / "stranger.tags.tsv",
        "--output", tmp_path / "a.html", "--mqc_dir", tmp_path,
    )  # fmt: skip
    assert len(errors) == 3
    assert any("both of sample 'reduced_panel'" in error for error in errors)
    assert any("plain.h5ad" in error and "not been mapped" in error for error in errors)
    assert any("stranger.tags.tsv" in error and "matches no sample" in error for error in errors)
    assert not (tmp_path / "a.html").exists()


def test_tables_belong_to_the_mapped_file_that_is_named_alike(inputs: Inputs, tmp_path: Path):
    """As files are called where a workflow manager numbers them; MultiQC's folder may be left out."""
    tables = {}
    for number, (mapped, table) in enumerate(zip(inputs.mapped, inputs.options["tags"], strict=True)):
        shutil.copy(mapped, tmp_path / f"{number}.mapped.h5ad")
        tables[number] = shutil.copy(table, tmp_path / f"{number}.tags.tsv")
    given = [path for number in tables for path in ("--mapped", tmp_path / f"{number}.mapped.h5ad", "--tags", tables[number])]
    log = succeed("report", "--model", inputs.model, *given, "--output", tmp_path / "a.html")
    assert log.count("tables: tags.") == len(tables) > 1
    assert "MultiQC" not in log


def test_a_sample_may_be_called_as_the_table_of_another(tmp_path: Path):
    made = make_inputs(tmp_path, extras=True)
    first, second = "reduced_panel", "unseen_type"
    tables = {option: dict(zip((first, second), paths, strict=True)) for option, paths in made.options.items() if len(paths) == 2}
    for path in made.mapped:
        cells = ad.read_h5ad(path)
        if cells.uns["cellmemory"]["sample"] == second:
            cells.uns["cellmemory"]["sample"] = f"{first}.metrics"
            cells.write_h5ad(path)
    renamed = path.rename(tmp_path / f"{first}.metrics.mapped.h5ad")
    own = json.loads(tables["metrics"][second].read_text()) | {"sample": f"{first}.metrics"}
    (tmp_path / f"{first}.metrics.metrics.json").write_text(json.dumps(own))
    given = ("--metrics", tables["metrics"][first], "--metrics", tmp_path / f"{first}.metrics.metrics.json")
    said = succeed("report", "--model", made.model, "--mapped", made.mapped[0], "--mapped", renamed, *given, "--output",
                   tmp_path / "report.html")  # fmt: skip
    assert said.count("tables: metrics.") == 2


def test_a_query_of_another_model_is_refused(inputs: Inputs, tmp_path: Path):
    cells = ad.read_h5ad(inputs.mapped[0])
    cells.uns["cellmemory"]["model_digest"] = "0" * 64
    cells.write_h5ad(tmp_path / "other.mapped.h5ad")
    (error,) = refused("report", "--model", inputs.model, "--mapped", tmp_path / "other.mapped.h5ad",
                       "--output", tmp_path / "a.html", "--mqc_dir", tmp_path)  # fmt: skip
    assert "another model" in error


@pytest.mark.parametrize("content", ["{", "[]", '"text"'])
def test_json_that_is_none_is_refused(inputs: Inputs, tmp_path: Path, content: str):
    (tmp_path / "reduced_panel.metrics.json").write_text(content)
    (error,) = refused("report", "--model", inputs.model, "--mapped", inputs.mapped[0],
                       "--metrics", tmp_path / "reduced_panel.metrics.json",
                       "--output", tmp_path / "a.html", "--mqc_dir", tmp_path)  # fmt: skip
    assert "reduced_panel.metrics.json" in error
    assert "--metrics" in error


def test_help_loads_nothing_heavy():
    command = [sys.executable, "-X", "importtime", ROOT / "bin" / "report.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "click" in loaded
    assert not loaded & {"anndata", "h5py", "matplotlib", "numpy", "pandas", "plotly", "torch"}


# The parts


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=40), st.integers(0, 20_000))
def test_quotas_are_fair(sizes: list[int], budget: int):
    quotas = sampling.fair_quotas(sizes, budget)
    assert all(0 <= quota <= size for quota, size in zip(quotas, sizes, strict=True))
    assert sum(quotas) == min(sum(sizes), budget)
    cut = [quota for quota, size in zip(quotas, sizes, strict=True) if quota < size]
    assert not cut or max(quotas) <= min(cut) + 1


def test_drawing_keeps_rare_groups():
    codes = np.repeat([0, 1, 2], [100_000, 500, 3])
    rows = sampling.sample_cells_to_draw(codes, 1000)
    assert len(rows) == 1000
    assert (np.diff(rows) > 0).all()
    assert np.sum(codes[rows] == 2) == 3
    assert np.sum(codes[rows] == 1) >= 25
    np.testing.assert_array_equal(rows, sampling.sample_cells_to_draw(codes, 1000))


@pytest.mark.parametrize("n", [1, 8, 9, 30, 100])
def test_colours_are_distinct_and_stay(n: int):
    shades = colours.palette(n)
    assert len(set(shades)) == n
    assert all(re.fullmatch("#[0-9a-f]{6}", shade) for shade in shades)
    assert colours.palette(100)[:n] == shades


def test_a_hundred_colours_are_seen_on_black_and_on_white():
    rgb = np.array([[int(shade[i : i + 2], 16) / 255 for i in (1, 3, 5)] for shade in colours.palette(100)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert ((luminance + 0.05) / 0.05).min() > 2.5  # the contrast ratio to black, and below to white
    assert (1.05 / (luminance + 0.05)).min() > 1.6


#: Red-, green- and blue-blind eyes on linear RGB, by Viénot, Brettel and Mollon (1999) and Brettel, Viénot and Mollon (1997):
#: not the matrices that the palette is chosen with.
EYES = {
    "most": np.eye(3),
    "red-blind": np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
    "green-blind": np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
}


@pytest.mark.parametrize(("n", "apart"), [(8, 0.075), (20, 0.045), (100, 0.015)])
@pytest.mark.parametrize("eyes", EYES)
def test_colour_blind_eyes_tell_labels_apart(n: int, apart: float, eyes: str):
    """In OKLab, where colours side by side are told apart from about 0.02 on. Greys stand for cells without a label."""
    shades = [*colours.palette(n), *colours.NOT_ASSIGNED.values()]
    rgb = np.array([[int(shade[i : i + 2], 16) / 255 for i in (1, 3, 5)] for shade in shades])
    linear = np.clip(np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ EYES[eyes].T, 0, 1)
    places = np.cbrt(linear @ colours._RGB_TO_LMS.T) @ colours._LMS_TO_LAB.T
    distances = np.linalg.norm(places[:n, None] - places[None], axis=2)
    assert distances[:, :n][np.triu_indices(n, 1)].min() > apart
    assert distances[:, n:].min() > min(apart, 0.035)


@given(st.floats(1e-6, 1e9), st.integers(2, 30))
@example(0.4, 2)  # a quarter of it is a little less than 0.1, and its logarithm is -1
def test_the_bar_of_a_tissue_has_a_round_length(width: float, n: int):
    places = np.stack([np.linspace(3, 3 + width, n), np.zeros(n)], axis=1)
    length = points.bar_length(np.vstack([places, [np.nan, 0]]))
    assert width / 10.01 < length <= width / 4 * 1.001
    assert f"{length:.6e}"[:8] in ("1.000000", "2.000000", "5.000000")
    assert points.bar_length(places[:1]) == points.bar_length(np.full((3, 2), np.nan)) == 0


@given(st.text(max_size=300))
def test_plotly_text_is_literal(name: str):
    shown = blocks.text(name)
    assert "<" not in shown
    assert ">" not in shown
    assert not re.search(r"&(?!(amp|lt|gt);)", shown)
    assert len(shown.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")) <= 80


@given(st.text(max_size=100))
def test_json_cannot_end_its_element(name: str):
    written = page.safe_json({"name": name})
    assert not set(written) & set("<>&\u2028\u2029")
    assert json.loads(written) == {"name": name}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(np.float32("nan"), None), (np.inf, None), (np.int64(3), 3), (np.bool_(True), True), (0.1234567, 0.12346)],
)
def test_plain_values(value: object, expected: object):
    assert blocks.plain({"a": [value, np.array([value])]}) == {"a": [expected, [expected]]}


def test_plain_refuses_what_json_does_not_know():
    with pytest.raises(TypeError):
        blocks.plain(pd.Series([1]))


def test_label_means_are_means():
    rng = np.random.default_rng(0)
    matrix, codes = rng.random((50, 7)), rng.integers(-1, 4, 50)
    means = tags.means_of_labels(sp.csr_matrix(matrix), codes, 5)
    for code in range(4):
        np.testing.assert_allclose(means[code], matrix[codes == code].mean(axis=0))
    assert (means[4] == 0).all()


def test_the_page_holds_the_cells_as_they_are(inputs: Inputs, run_page: Path):
    cells = embedded(run_page)["cells"]
    mapped = [ad.read_h5ad(path) for path in inputs.mapped]
    umap = np.concatenate([sample.obsm["X_umap"] for sample in mapped])
    np.testing.assert_array_equal(unpack(cells["spaces"]["umap"]["x"]), umap[:, 0])
    counted, label, truth = cells["columns"][:3]
    names = np.concatenate([sample.obs["cellmemory_label"].astype(str) for sample in mapped])
    assert (np.array(label["levels"])[unpack(label["codes"])] == names).all()
    shown = np.array(counted["levels"])[unpack(counted["codes"])]
    assert ((shown == names) | np.isin(shown, list(colours.NOT_ASSIGNED))).all()
    status = np.concatenate([sample.obs["cellmemory_status"].astype(str) for sample in mapped])
    assert not (shown == names)[status != "assigned"].any()
    known = np.concatenate([sample.obs["author_label"].astype(str) for sample in mapped])
    assert (np.array(truth["levels"])[unpack(truth["codes"])] == known).all()
    shade = dict(zip(cells["colours"]["labels"], cells["colours"]["values"], strict=True))
    for column in (label, truth):
        assert column["colours"] == [shade[level] for level in column["levels"]]

    genes = cells["genes"]
    gene = genes["names"].index("LYZ")
    rows = slice(genes["start"][gene], genes["start"][gene + 1])
    for key, matrix, top in (("expression", "X", 0), ("attention", "attention", 1)):
        layers = [sample[:, "LYZ"].X if matrix == "X" else sample[:, "LYZ"].layers[matrix] for sample in mapped]
        true = np.concatenate([layer.toarray().ravel() for layer in layers])
        shown = np.zeros(len(true))
        shown[unpack(genes["cells"])[rows]] = unpack(genes[key])[rows] / 255 * genes["tops"][gene][top]
        np.testing.assert_allclose(shown, true, atol=true.max() / 200)


def test_genes_come_by_rank_until_the_budget_is_full(inputs: Inputs):
    model = trained_model.load(inputs.model)
    samples = data.read_samples(inputs.mapped, model, {"tags": inputs.options["tags"]})
    genes = points.genes(samples, 60_000)
    assert len(genes["cells"]["data"]) + 2 * len(genes["expression"]["data"]) < 60_000
    assert len(points.genes(samples, 10**9)["names"]) > len(genes["names"])
    first = {gene for sample in samples for gene in sample.tables["tags"].query("rank == 1")["gene"]}
    assert set(genes["names"][: len(first)]) == first


def test_a_hundred_labels_and_full_samples_stay_small(inputs: Inputs):
    """A million cells in twenty samples with a hundred labels, and the most points that a page draws: below 15 MB."""
    rng = np.random.default_rng(0)
    labels = [f"label number {i} of a long list" for i in range(100)]
    model = trained_model.load(inputs.model)
    table = pd.DataFrame({"label": labels, "n_cells": 100, "n_train": 80, "n_validation": 20, "rare": False})
    model = replace(model, label_table=table)
    genes = [f"GENE{i}" for i in range(2000)]
    samples = [big_sample(f"sample_{i}", labels, genes, 50_000, data.DRAWN_QUERY // 20, rng) for i in range(20)]
    sets = {f"set {i}": genes[20 * i : 20 * i + 20] for i in range(100)}
    text, _ = page.build(samples, model, data.RunFacts(gene_sets={"one": sets, "other": sets}))
    assert len(text.encode()) < 15_000_000


def big_sample(name: str, labels: list[str], genes: list[str], n: int, drawn: int, rng: np.random.Generator) -> data.Sample:
    """A sample in memory with everything at its largest."""
    cells = pd.DataFrame({key: rng.random(n) for key in ("confidence", "novelty", "novelty_p", "linear_share")})
    cells["label"] = pd.Categorical.from_codes(rng.integers(0, len(labels), n), labels)
    cells["status"] = pd.Categorical.from_codes(rng.integers(0, 3, n), list(STATUSES))
    cells["reason"] = cells["label"].copy()
    cells["label_set"] = cells["label"].copy()
    expression = sp.random(drawn, len(genes), 0.1, "csr", np.float32, random_state=1)
    slots = rng.random((len(genes), len(labels), 8), dtype=np.float32)
    group, rank = np.repeat(labels, 100), np.tile(np.arange(1, 101), len(labels))
    tags = pd.DataFrame({"group": group, "rank": rank, "gene": rng.choice(genes, len(group)), "score": 0.1})
    tags = tags.assign(specificity=1.0, mean_expression=1.0, fraction_expressing=0.5, contribution_rank=rank, n_cells=10)
    return data.Sample(
        name=name, run=RunInfo(name, "", labels, 8, novelty_alpha=0.05, alpha=0.1), mappings=("",), cells=cells,
        columns=pd.DataFrame({f"column {i}": rng.random(n) for i in range(data.MAX_COLUMNS)}), truth=None, genes=genes,
        measured=np.ones(len(genes), bool),
        slot_use=rng.random((n, 8)), umap=rng.random((n, 2)), spatial=rng.random((n, 2)),
        quality=pd.DataFrame(rng.random((n, 3)), columns=list(QUALITY_COLUMNS)).assign(doublet=0.0),
        batch=None, of_batches=pd.DataFrame(index=[""]),
        reference_umap=rng.random((5000, 2)), reference_labels=rng.choice(labels, 5000),
        slot_write=slots, slot_read=slots,
        drawn=np.arange(drawn), drawn_ids=[f"AAACCTGAGAAGGCCT-{i}" for i in range(drawn)], expression=expression,
        attention=expression, tables={"tags": tags},
    )  # fmt: skip


# MultiQC


def test_multiqc_content_has_what_it_needs(run_page: Path):
    written = {path.name: json.loads(path.read_text()) for path in (run_page.parent / "mqc").iterdir()}
    assert set(written) == {"run_summary_mqc.json", "run_methods_mqc.json"} | {
        f"{sample}_{part}_mqc.json" for sample in ("reduced_panel", "unseen_type") for part in ("labels", "confidence")
    }
    for content in written.values():
        assert {"id", "section_name", "plot_type", "data"} <= set(content)
        assert content["plot_type"] in ("generalstats", "bargraph", "linegraph", "html")
        assert ("pconfig" in content) == (content["plot_type"] != "html")
    assert "Genome Biology 2025, 26:178" in written["run_methods_mqc.json"]["data"]
    assert written["run_summary_mqc.json"]["data"]["unseen_type"]["cells"] == 195
    assert sum(written["unseen_type_labels_mqc.json"]["data"]["unseen_type"].values()) == 195


@pytest.mark.parametrize(("share", "words"), [(0.05, "5%"), (0.025, "2.5%"), (0.004, "0.4%"), (0.995, "99.5%"), (1 - 0.1, "90%")])
def test_thresholds_keep_their_digits(share: float, words: str):
    assert percent(share) == words


def test_multiqc_reads_it(run_page: Path, tmp_path: Path):
    command = [sys.executable, "-m", "multiqc", str(run_page.parent / "mqc"), "--outdir", str(tmp_path), "--no-ansi", "--strict"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "multiqc_report.html").read_text()
    assert "cellmemory_labels" in text
    assert "cellmemory_confidence" in text
    assert "Only the labels of assigned cells are used." in text


# Quality


@pytest.mark.parametrize(
    ("genes", "share", "verdict"),
    [(100, 0.02, "many of them may just be poor"), (1000, 0.5, "many of them"), (1000, 0.02, "they are not just poor")],
)
def test_unassigned_cells_are_held_against_assigned_ones(genes: int, share: float, verdict: str):
    rng = np.random.default_rng(0)
    sample = big_sample("a", ["B", "T"], ["CD3E"], n=200, drawn=10, rng=rng)
    status = np.repeat(["assigned", "unassigned"], [150, 50])
    values = {"counts": 3000.0, "genes": rng.normal(1000, 50, 200), "mitochondrial": rng.normal(0.02, 0.005, 200)}
    values = pd.DataFrame(values).assign(doublet=np.repeat([0.1, 0.3], [190, 10]))
    values.loc[150:, ["genes", "mitochondrial"]] = [genes, share]
    sample = replace(sample, cells=sample.cells.assign(status=status), quality=values)
    notes = quality.section([sample], {"B": "#000000", "T": "#ffffff"}).blocks[0]
    assert "of the 50 unassigned cells" in notes.sentences[0]
    assert verdict in notes.sentences[0]
    assert notes.sentences[1] == "a: 10 of 200 cells (5%, 20% of the unassigned ones) may be doublets."


def test_a_query_without_quality_says_so():
    sample = big_sample("a", ["B", "T"], ["CD3E"], n=200, drawn=10, rng=np.random.default_rng(0))
    assert "do not hold the quality" in quality.section([replace(sample, quality=None)], {}).absent


def test_boxes_of_quality_are_of_labels_as_cells_count(run_page: Path):
    figure = embedded(run_page)["figures"]["quality_by_label"]["variants"]["0,1"]
    assert figure["data"][0]["meta"]["each"]["name"][-1] == "(ambiguous)"
    assert figure["layout"]["xaxis"]["type"] == "log"


# Donors and conditions


def sample_of_donors(donors: int, conditions: list[str], batch_key: str = "donor") -> data.Sample:
    """A sample of donors with 200 cells each, whose second half has more T cells; conditions: one for each donor."""
    rng = np.random.default_rng(0)
    sample = big_sample("a", ["B", "T"], ["CD3E"], n=200 * donors, drawn=10, rng=rng)
    donor = np.repeat(np.arange(donors), 200)
    is_t = rng.random(len(donor)) < np.where(donor < donors / 2, 0.3, 0.7)
    cells = sample.cells.assign(label=pd.Categorical.from_codes(is_t.astype(int), ["B", "T"]), status="assigned")
    columns = {"donor": pd.Categorical(donor.astype(str)), "condition": pd.Categorical(np.array(conditions)[donor])}
    columns["of cells"] = pd.Categorical(rng.choice(["x", "y"], len(donor)))
    batch = pd.Series(donor.astype(str), dtype=object) if batch_key else None
    run = replace(sample.run, batch_key=batch_key)
    return with_values(replace(sample, cells=cells, columns=pd.DataFrame(columns), batch=batch, run=run))


def with_values(sample: data.Sample) -> data.Sample:
    """The sample with what its batches have in common, as it is read from obs."""
    return replace(sample, of_batches=data._values_of_batches(sample.columns, sample.batch, ("", sample.run.batch_key)))


def test_labels_are_compared_between_conditions_of_donors():
    found = conditions.section([sample_of_donors(6, ["control"] * 3 + ["treated"] * 3)])
    figure, table = found.blocks
    assert figure.selectors[0].options == ["condition"]  # neither what varies within donors nor the donors themselves
    rows = {row[1]: row for row in table.rows}
    assert rows["T"][3] > 3 > 1 > rows["B"][3]
    assert rows["T"][4] < rows["T"][3] < rows["T"][5]
    assert rows["T"][6] < 0.01
    assert rows["T"][2] == "control 28.3% (3), treated 69.8% (3)"
    assert figure.variants["0"]["layout"]["yaxis"]["ticktext"][3] == "treated: 3"


def test_samples_without_batches_are_donors():
    whole = sample_of_donors(4, ["a", "a", "b", "b"], batch_key="")
    parts = [
        with_values(replace(whole, name=f"s{i}", cells=whole.cells[rows].reset_index(drop=True), columns=whole.columns[rows]))
        for i in range(4)
        if (rows := (whole.columns["donor"] == str(i)).to_numpy()) is not None
    ]
    found = conditions.find_donors(parts)
    assert found.counts.index.tolist() == ["s0", "s1", "s2", "s3"]
    assert found.conditions["condition"].tolist() == ["a", "a", "b", "b"]


def test_one_donor_of_each_condition_is_not_compared():
    found = conditions.section([sample_of_donors(3, ["a", "b", "b"])])
    assert "of 'condition', fewer than two values have 2 donors" in found.blocks[0].sentences[0]
    assert [block.kind for block in found.blocks] == ["notes", "figure"]
    assert "fewer than 3 donors" in conditions.section([sample_of_donors(2, ["a", "b"])]).absent


def test_cells_without_a_donor_count_for_none():
    sample = sample_of_donors(4, ["a", "a", "b", "b"])
    sample.batch.iloc[:10] = None
    assert conditions.find_donors([sample]).counts.to_numpy().sum() == 790


def test_a_donor_of_several_samples_is_one_donor():
    """Three libraries of the same two donors are no replicates."""
    whole = sample_of_donors(6, ["x", "y"] * 3)
    whole = replace(whole, batch=pd.Series(np.where(whole.columns["condition"] == "x", "P1", "P2"), dtype=object))
    library = np.arange(1200) // 400
    parts = [
        with_values(replace(whole, name=f"s{i}", cells=whole.cells[library == i].reset_index(drop=True),
                            columns=whole.columns[library == i], batch=whole.batch[library == i]))
        for i in range(3)
    ]  # fmt: skip
    assert conditions.find_donors(parts).counts.sum(axis=1).to_dict() == {"P1": 600, "P2": 600}
    assert "fewer than 3 donors" in conditions.section(parts).absent


def test_donors_of_one_label_are_not_compared():
    sample = sample_of_donors(6, ["a"] * 3 + ["b"] * 3)
    sample.cells["label"] = pd.Categorical(["B"] * 1200, ["B", "T"])
    assert [block.kind for block in conditions.section([sample]).blocks] == ["figure"]


def test_a_condition_is_found_behind_any_number_of_other_columns(inputs: Inputs, tmp_path: Path):
    """Of any number of values; predicted labels are none."""
    query = ad.read_h5ad(inputs.mapped[1])
    donor = np.arange(query.n_obs) % 26
    for i in range(40):
        query.obs[f"other {i}"] = np.random.default_rng(i).choice(["x", "y"], query.n_obs)
    query.obs["donor"], query.obs["condition"] = donor.astype(str), [f"c{i // 2}" for i in donor]
    query.obs["cellmemory_level_lineage"] = query.obs["condition"]
    query.uns["cellmemory"]["batch_key"] = "donor"
    query.write_h5ad(tmp_path / "many.mapped.h5ad")
    (sample,) = data.read_samples([tmp_path / "many.mapped.h5ad"], trained_model.load(inputs.model), {})
    found = conditions.find_donors([sample]).conditions
    assert found.columns.tolist() == ["condition"]
    assert found["condition"].nunique() == 13


def test_a_sample_and_a_batch_of_one_name_are_two_donors():
    whole = sample_of_donors(3, ["a", "b", "b"])
    other = replace(sample_of_donors(3, ["a", "b", "b"], batch_key=""), name="0")
    assert conditions.find_donors([whole, other]).counts.index.tolist() == ["0", "1", "2", "0 (sample)"]


def test_values_of_one_donor_are_said_to_be_left_out():
    found = conditions.section([sample_of_donors(6, ["a", "a", "b", "b", "d", "c"])])
    assert found.blocks[0].sentences == ["'condition': c and d have one donor, and no part in the test."]
    assert {row[2].count("(") for row in found.blocks[-1].rows} == {2}


def test_every_number_of_a_donor_counts(inputs: Inputs, tmp_path: Path):
    """Numbers of eight digits, and more of them than colours are offered for."""
    query = ad.read_h5ad(inputs.mapped[1])
    query.obs["donor"] = 20230000 + np.arange(query.n_obs) % 60
    query.write_h5ad(tmp_path / "many.mapped.h5ad")
    (sample,) = data.read_samples([tmp_path / "many.mapped.h5ad"], trained_model.load(inputs.model), {})
    assert len(conditions.find_donors([sample]).counts) == 60


def test_cells_without_counts_have_no_box(inputs: Inputs, tmp_path: Path):
    """The page of a query of which some cells are empty: they have neither counts nor a share."""
    query = ad.read_h5ad(inputs.mapped[1])
    query.obsm["cellmemory_quality"][:3] = [0, 0, np.nan]
    query.write_h5ad(tmp_path / "some.mapped.h5ad")
    succeed("report", "--model", inputs.model, "--mapped", tmp_path / "some.mapped.h5ad", "--output", tmp_path / "page.html")
    boxes = embedded(tmp_path / "page.html")["figures"]["quality_by_label"]["variants"]["0"]["data"][0]["meta"]["each"]
    assert all(low[0] > 0 for low in boxes["lowerfence"])


@pytest.mark.parametrize("value", [np.inf, -1.0, 1e300])
def test_quality_that_no_cell_can_have_is_refused(inputs: Inputs, tmp_path: Path, value: float):
    query = ad.read_h5ad(inputs.mapped[1])
    query.obsm["cellmemory_quality"] = query.obsm["cellmemory_quality"].astype(float)
    query.obsm["cellmemory_quality"][5, 2] = value
    query.write_h5ad(tmp_path / "odd.mapped.h5ad")
    (line,) = refused(
        "report", "--model", inputs.model, "--mapped", tmp_path / "odd.mapped.h5ad", "--output", tmp_path / "page.html"
    )
    assert "obsm['cellmemory_quality'] holds infinite or negative values" in line
