"""ENRICH through its command line: figures against Fisher's test and a plain Benjamini-Hochberg, and what is said."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, fisher_exact, hypergeom

import enrich
from cellmemory.columns import ENRICHMENT_COLUMNS
from cellmemory.errors import InputError
from cellmemory.explanation import enrichment
from cellmemory.genes import gene_sets
from cellmemory.io.gmt import EXPECTED, read_gmt
from cellmemory.io.tables import read_table

GENES = [f"GENE{i}" for i in range(40)]
MADE_OF = "12345678.1"
MARKERS = Path(__file__).parents[2] / "assets" / "genesets" / "blood_cell_markers.gmt"


def write_inputs(folder: Path, rankings: dict, slot_rankings: dict | None = None, panel=GENES, source_ids=None) -> list[str]:
    """Tables of TAGs with these gene lists (by group, by (group, slot)), and a panel; the script's options for them."""
    rows = [(group, rank, gene, 1 / rank) for group, genes in rankings.items() for rank, gene in enumerate(genes, 1)]
    table = pd.DataFrame(rows, columns=["group", "rank", "gene", "score"]).assign(mapping=MADE_OF)
    rows = [(*key, rank, gene) for key, genes in (slot_rankings or {}).items() for rank, gene in enumerate(genes, 1)]
    slots = pd.DataFrame(rows, columns=["group", "slot", "rank", "gene"]).assign(mapping=MADE_OF)
    ids = pd.DataFrame({"gene": panel, "rank": range(1, len(panel) + 1), "mean": 1.0, "dispersion": 1.0})
    ids["source_id"] = source_ids or ""
    for name, content in (("tags", table), ("slot_tags", slots), ("panel", ids)):
        content.to_csv(folder / f"{name}.tsv", sep="\t", index=False)
    return [part for name in ("tags", "slot_tags", "panel") for part in (f"--{name}", str(folder / f"{name}.tsv"))]


def write_gmt(path: Path, sets: dict[str, list[str]]) -> str:
    path.write_text("".join("\t".join([name, "about", *genes]) + "\n" for name, genes in sets.items()))
    return str(path)


def run(folder: Path, options: list[str]):
    output = folder / "enrichment.tsv"
    output.unlink(missing_ok=True)
    result = CliRunner().invoke(enrich.main, [*options, "--output", str(output)])
    text = {"group": str, "slot": str, "term": str, "overlap": str, "genes": str, "mapping": str}
    return result, pd.read_csv(output, sep="\t", dtype=text, keep_default_na=False) if output.exists() else None


def test_figures_equal_fishers_test_and_benjamini_hochberg(tmp_path):
    sets = {
        "FIVE": GENES[:5],
        "TEN": GENES[3:13],
        "OTHER": GENES[20:30],
        "FEW": [*GENES[:2], "OUTSIDE"],
        "MIXED": GENES[::4],
    }
    options = write_inputs(tmp_path, {"a": GENES[:8], "b": GENES[20:28]}, {("a", 1): GENES[5:13], ("a", 2): GENES[30:38]})
    result, table = run(tmp_path, [*options, "--gmt", write_gmt(tmp_path / "sets.gmt", sets), "--top", "6"])
    assert result.exit_code == 0, result.output
    assert list(table) == [*ENRICHMENT_COLUMNS, "mapping"]
    assert "Dropped 1 sets of sets with fewer than 3 genes" in result.output
    tested = {name: set(genes) for name, genes in sets.items() if name != "FEW"}
    queries = {("label", "a", ""): GENES[:6], ("label", "b", ""): GENES[20:26], ("slot", "a", "1"): GENES[5:11]}
    queries["slot", "a", "2"] = GENES[30:36]
    seen = 0
    for key, query in queries.items():
        expected = {}
        for term, members in tested.items():
            k = len(members & set(query))
            cells = [[k, len(members) - k], [6 - k, 40 - 6 - len(members) + k]]
            half = np.array(cells) + 0.5
            expected[term] = k, fisher_exact(cells, "greater").pvalue, half[0, 0] * half[1, 1] / half[0, 1] / half[1, 0]
        adjusted = dict(zip(expected, false_discovery_control([p for _, p, _ in expected.values()]), strict=True))
        block = table[(table[["level", "group", "slot"]] == key).all(axis=1)].set_index("term")
        assert set(block.index) == {term for term, (k, _, _) in expected.items() if k}
        assert block["p_value"].is_monotonic_increasing
        for term, row in block.iterrows():
            k, p_value, odds = expected[term]
            assert row["overlap"] == f"{k}/{len(tested[term])}"
            np.testing.assert_allclose(
                row[["p_value", "adjusted_p_value", "odds_ratio"]].astype(float),
                [p_value, adjusted[term], odds],
                rtol=1e-5,
            )
            assert row["genes"].split(";") == [gene for gene in query if gene in tested[term]]
            assert (row["library"], row["background"]) == ("sets", 40)
            seen += 1
    assert seen == len(table)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sets(st.sampled_from(GENES), min_size=3), min_size=1, max_size=8),
    st.lists(st.sampled_from(GENES), min_size=1, unique=True),
)
def test_p_values_are_hypergeometric_and_adjustment_is_monotonic(sets, query):
    library = gene_sets.Library("x", {f"S{i}": sorted(genes) for i, genes in enumerate(sets)}, len(sets), 40, 40, False)
    table = enrichment.over_representation(query, library, set(GENES))
    assert list(table["p_value"]) == sorted(table["p_value"])
    assert table["adjusted_p_value"].between(table["p_value"] * (1 - 1e-9), 1).all()
    assert table["adjusted_p_value"].is_monotonic_increasing
    for row in table.itertuples():
        members = set(library.sets[row.term])
        k = len(members & set(query))
        np.testing.assert_allclose(row.p_value, hypergeom(40, len(members), len(query)).sf(k - 1), rtol=1e-9)
        assert 0 < row.odds_ratio < np.inf


def test_libraries_are_families_of_their_own(tmp_path):
    options = write_inputs(tmp_path, {"a": GENES[:6]})
    one = {"A": GENES[:5], "B": GENES[10:20], "C": GENES[4:14]}
    files = [write_gmt(tmp_path / "one.gmt", one), write_gmt(tmp_path / "two.gmt", {"A": GENES[:5]})]
    _, both = run(tmp_path, [*options, "--gmt", files[0], "--gmt", files[1]])
    _, alone = run(tmp_path, [*options, "--gmt", files[0]])
    pd.testing.assert_frame_equal(both[both["library"] == "one"].reset_index(drop=True), alone)
    second = both[both["library"] == "two"]
    assert list(second["adjusted_p_value"]) == list(second["p_value"])


def test_the_planted_type_is_named_by_the_shipped_sets(tmp_path):
    sets = read_gmt(MARKERS)
    panel = sorted({gene for genes in sets.values() for gene in genes})
    options = write_inputs(tmp_path, {"mono": sets["CD14_MONOCYTE"], "ifn": sets["INTERFERON_RESPONSE"]}, panel=panel)
    result, table = run(tmp_path, [*options, "--gmt", str(MARKERS)])
    assert result.exit_code == 0, result.output
    first = table.drop_duplicates("group").set_index("group")
    assert first.loc["mono", "term"] == "CD14_MONOCYTE"
    assert first.loc["ifn", "term"] == "INTERFERON_RESPONSE"
    assert (first["adjusted_p_value"] < 1e-10).all()


def test_shipped_sets_are_cited():
    sources = (MARKERS.parent / "SOURCES.md").read_text()
    for line in MARKERS.read_text().splitlines():
        name, description, *genes = line.split("\t")
        assert f"| `{name}` | {len(genes)} |" in sources
        assert all(doi.removeprefix("doi:") in sources for doi in description.split())


def test_mouse_panel_meets_human_sets(tmp_path):
    panel = [gene.title() for gene in GENES[:-1]] + ["F5"]
    options = write_inputs(tmp_path, {"a": panel[:5]}, panel=panel)
    gmt = write_gmt(tmp_path / "human.gmt", {"A": [*GENES[:5], "F5"], "B": GENES[10:35]})
    result, table = run(tmp_path, [*options, "--gmt", gmt])
    assert "upper and lower case ignored" in result.output
    assert table.loc[0, "overlap"] == "5/6"
    assert table.loc[0, "genes"] == ";".join(panel[:5])


def test_case_is_kept_where_names_match(tmp_path):
    panel = [*GENES, "C1orf56", "C1ORF57"]
    options = write_inputs(tmp_path, {"a": [*GENES[:4], "C1orf56"]}, panel=panel)
    gmt = write_gmt(tmp_path / "sets.gmt", {"A": [*GENES[:4], "C1orf56", "C1orf57"]})
    result, table = run(tmp_path, [*options, "--gmt", gmt])
    assert "ignored" not in result.output
    assert table.loc[0, "overlap"] == "5/5"


def test_ids_of_the_reference_match_where_names_do_not(tmp_path):
    ids = [f"ENSG{i:011d}.{i % 7}" for i in range(40)]
    options = write_inputs(tmp_path, {"a": GENES[:5]}, source_ids=ids)
    gmt = write_gmt(tmp_path / "ensembl.gmt", {"A": [f"ENSG{i:011d}" for i in range(5)]})
    result, table = run(tmp_path, [*options, "--gmt", gmt])
    assert result.exit_code == 0, result.output
    assert table.loc[0, "genes"] == ";".join(GENES[:5])


def test_genes_that_the_query_did_not_measure_are_no_background(tmp_path):
    alignment = {"missing_genes": ["GENE3", "GENE39", "ELSEWHERE"], "values_digest": "12345678abcd"}
    (tmp_path / "s.alignment.json").write_text(json.dumps(alignment))
    gmt = write_gmt(tmp_path / "sets.gmt", {"A": GENES[:8]})
    options = write_inputs(tmp_path, {"a": GENES[:3]})
    _, table = run(tmp_path, [*options, "--gmt", gmt, "--alignment", str(tmp_path / "s.alignment.json")])
    assert table.loc[0, "background"] == 38
    assert table.loc[0, "overlap"] == "3/7"
    for field in alignment:
        without = {name: value for name, value in alignment.items() if name != field}
        (tmp_path / "s.alignment.json").write_text(json.dumps(without))
        result, _ = run(tmp_path, [*options, "--gmt", gmt, "--alignment", str(tmp_path / "s.alignment.json")])
        assert result.exit_code == 1
        assert "give the .alignment.json of preprocess_query.py" in result.output


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("A\tabout\tGENE1\nBROKEN\n", "line 2: 'BROKEN' has no genes"),
        ("A\tabout\n", "line 1: 'A' has no genes"),
        ("A about GENE1 GENE2\n", "line 1: 'A about GENE1 GENE2' has no genes"),
        ("\tabout\tGENE1\n", "line 1: the set has no name"),
        ("A\tx\tGENE1\n\nA\tx\tGENE2\n", "line 3: 'A' is already in line 1"),
        ("\n\n", "holds no gene set"),
        (
            "A\tx\tENSG00000000001\tENSG00000000002\n",
            "it has 'ENSG00000000001', 'ENSG00000000002' (ensembl ids); the panel has 'GENE0', 'GENE1'",
        ),
    ],
)
def test_bad_gmt_is_a_sentence(tmp_path, content, expected):
    gmt = tmp_path / "bad.gmt"
    gmt.write_text(content)
    result, table = run(tmp_path, [*write_inputs(tmp_path, {"a": GENES[:5]}), "--gmt", str(gmt)])
    assert result.exit_code == 1
    assert expected in result.output
    assert "bad.gmt" in result.output
    assert table is None


def test_all_bad_files_are_told_at_once(tmp_path):
    (tmp_path / "more").mkdir()
    files = [tmp_path / "x.gmt", tmp_path / "more" / "x.gmt", tmp_path / "bytes.gmt"]
    files[0].write_text("A\n\nB\n")
    files[1].write_text("A\tx\tGENE1\n")
    files[2].write_bytes(b"A\tx\tG\xe9n\n")
    options = write_inputs(tmp_path, {"a": GENES[:5]})
    result, _ = run(tmp_path, [*options, *(part for file in files for part in ("--gmt", str(file)))])
    assert [line for line in result.output.splitlines() if line.startswith("Error")] == [
        f"Error: {files[0]}, line 1: 'A' has no genes. {EXPECTED}.",
        f"Error: {files[0]}, line 3: 'B' has no genes. {EXPECTED}.",
        f"Error: {files[2]} is not a text file in UTF-8 (line 1). Save it as text in UTF-8.",
    ]
    files[0].write_text("A\tx\tGENE1\tGENE2\tGENE3\n")
    result, _ = run(tmp_path, [*options, "--gmt", str(files[0]), "--gmt", str(files[1])])
    assert "another GMT file is also named 'x'" in result.output


def test_tables_of_another_model_are_refused(tmp_path):
    gmt = write_gmt(tmp_path / "sets.gmt", {"A": GENES[:5]})
    result, _ = run(tmp_path, [*write_inputs(tmp_path, {"a": ["ELSE1", *GENES[:5]]}), "--gmt", gmt])
    assert result.exit_code == 1
    assert "rank 1 genes that the panel lacks ('ELSE1')" in result.output
    options = write_inputs(tmp_path, {"a": GENES[:5]})
    (tmp_path / "tags.tsv").write_text("something\telse\n")
    result, _ = run(tmp_path, [*options, "--gmt", gmt])
    assert "tags.tsv is not a table of TAGs (missing columns: group, rank, gene" in result.output


def test_tables_of_two_mappings_are_refused(tmp_path):
    options = write_inputs(tmp_path, {"a": GENES[:5]}, {("a", 1): GENES[3:8]})
    options += ["--gmt", write_gmt(tmp_path / "sets.gmt", {"A": GENES[:5]}), "--alignment", str(tmp_path / "alignment.json")]

    def written(values_digest: str = "12345678abcd", **mappings: str) -> tuple[int, str]:
        (tmp_path / "alignment.json").write_text(json.dumps({"missing_genes": [], "values_digest": values_digest}))
        for name, mapping in ({"tags": MADE_OF, "slot_tags": MADE_OF} | mappings).items():
            pd.read_csv(tmp_path / f"{name}.tsv", sep="\t").assign(mapping=mapping).to_csv(
                tmp_path / f"{name}.tsv", sep="\t", index=False
            )
        result, table = run(tmp_path, options)
        assert (result.exit_code == 0) == (table is not None and set(table["mapping"]) == {MADE_OF})
        return result.exit_code, result.output

    status, said = written(slot_tags="12345678.2")
    assert status == 1
    assert "slot_tags.tsv (--slot_tags) and " in said
    assert "tags.tsv (--tags) are not of one mapped query. Give those that are." in said
    status, said = written("87654321abcd")
    assert status == 1
    assert f"{tmp_path}/alignment.json (--alignment) and " in said
    assert written()[0] == 0
    pd.read_csv(tmp_path / "slot_tags.tsv", sep="\t").drop(columns="mapping").to_csv(
        tmp_path / "slot_tags.tsv", sep="\t", index=False
    )
    result, _ = run(tmp_path, options)
    assert "slot_tags.tsv is not a table of TAGs" in result.output
    assert "mapping" in result.output


def test_short_and_empty_tables(tmp_path):
    gmt = write_gmt(tmp_path / "sets.gmt", {"A": GENES[:5], "B": GENES[30:34]})
    result, table = run(tmp_path, [*write_inputs(tmp_path, {"a": GENES[10:12]}), "--gmt", gmt])
    assert result.exit_code == 0, result.output
    assert "1 of them list fewer than 50 genes" in result.output
    assert "over half of the background" in result.output
    assert table.empty
    assert list(table) == [*ENRICHMENT_COLUMNS, "mapping"]


def test_gmt_reader_takes_what_others_write(tmp_path):
    path = tmp_path / "x.gmt"
    path.write_bytes(b"\xef\xbb\xbfA\t\tGENE1,1.0\tGENE2\tGENE1\t\t\r\n\r\nB 'b' (GO:1)\tna\tGENE3\r\n")
    assert read_gmt(path) == {"A": ["GENE1", "GENE2"], "B 'b' (GO:1)": ["GENE3"]}


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text("abcXYZ _-", min_size=1).map(str.strip).filter(bool),
        st.lists(st.text("GENE0123-.", min_size=1), min_size=1, unique=True),
        min_size=1,
    )
)
def test_gmt_round_trip(tmp_path_factory, sets):
    path = tmp_path_factory.mktemp("gmt") / "x.gmt"
    write_gmt(path, sets)
    assert read_gmt(path) == sets


def test_unreadable_tables_are_input_errors(tmp_path):
    (tmp_path / "empty.tsv").write_text("")
    with pytest.raises(InputError, match="not a table of TAGs"):
        read_table(tmp_path / "empty.tsv", ["group"])
