"""Sheets as spreadsheets, editors and other countries save them: read, or refused by one sentence. Nothing is thrown."""

from pathlib import Path

import pytest

from tests.corpus.sheets import LABEL_MAPS, QUOTE, SHEETS, filled
from tests.pipeline.nextflow import DATA, asked, problems, refused

QUERY = DATA / "unseen_type.h5ad"
REFERENCES = {
    "quoted": (f'"reference","h5ad","model","label_key"\n"a","{QUERY}","","x"\n', [[{"id": "a", "label_key": "x"}, str(QUERY)]]),
    "empty": (f"reference,h5ad,,\na,{QUERY},,\n,,,\n", [[{"id": "a", "label_key": "all"}, str(QUERY)]]),
    "semicolons": (f"reference;h5ad\na;{QUERY}\n", "is separated by semicolons."),
    "unicode_text": (f"reference,h5ad\na,{QUERY}\n".encode("utf-16"), "is UTF-16 text. Save it as CSV UTF-8."),
    "open_quote": (f'reference,h5ad\na,"{QUERY}\n', f", line 2: {QUOTE}"),
    "alike": (f"reference,h5ad\na,{QUERY}\nA,{QUERY}\n", ": the reference names a, A differ only in capital letters"),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list]]:
    """What the functions say of every sheet, in one run: [what was read, problems]."""
    folder = tmp_path_factory.mktemp("sheets")
    contents = {
        "queries": {name: filled(sheet.content, QUERY) for name, sheet in SHEETS.items()},
        "references": {name: text if isinstance(text, bytes) else text.encode() for name, (text, _) in REFERENCES.items()},
        "maps": {name: sheet.content for name, sheet in LABEL_MAPS.items()},
    }
    for kind, files in contents.items():
        (folder / kind).mkdir()
        for name, content in files.items():
            (folder / kind / name).write_bytes(content)
    groovy = """
            def of = { kind, read ->
                file(kind).listFiles().collectEntries { sheet ->
                    def (rows, problems) = read.call(sheet)
                    [sheet.name, [rows.collect { meta, path -> [meta, "${path}"] }, problems.collect { text -> "${text}" }]]
                }
            }
            def found = [
                queries: of('queries') { sheet -> readSamplesheet(sheet) },
                references: of('references') { sheet -> readReferences(sheet, [label_key: 'all']) },
                maps: of('maps') { sheet -> [[], labelMapProblems(sheet, ['a'])] },
            ]"""
    functions = {"readSamplesheet": "samplesheet.nf", "labelMapProblems; readReferences": "references.nf"}
    return asked(functions, groovy, folder=folder)


@pytest.mark.parametrize("name", SHEETS)
def test_samplesheets(name: str, found: dict):
    sheet = SHEETS[name]
    row = [{"id": "a", "row": 1, **sheet.settings}, str(QUERY)]
    check(name, sheet.pipeline or [row], *found["queries"][name], sheet.problems)


@pytest.mark.parametrize("name", REFERENCES)
def test_sheets_of_references(name: str, found: dict):
    check(name, REFERENCES[name][1], *found["references"][name])


@pytest.mark.parametrize("name", LABEL_MAPS)
def test_label_maps(name: str, found: dict):
    check(name, LABEL_MAPS[name].pipeline or [], *found["maps"][name])


def check(name: str, expected: list | str, read: list, problems: list[str], count: int = 1) -> None:
    """Either what was read, or the sentences, of which one is enough, are as expected."""
    if isinstance(expected, list):
        assert [read, problems] == [expected, []]
    else:
        assert read == []
        assert len(problems) == count
        assert expected in problems[0]
        assert name in problems[0]


def test_files_of_other_names_and_folders_as_geo_has_them_are_left_to_the_first_task(tmp_path: Path):
    for name in ("a.h5ad", "b.h5", "c.hdf5", "D.H5AD", "e.csv"):
        (tmp_path / name).touch()
    for folder, files in {"f": ["GSM1_matrix.mtx.gz"], "g": ["matrix.mtx"], "h": ["a.mtx", "b.mtx"], "i": ["genes.tsv"]}.items():
        (tmp_path / folder).mkdir()
        for file in files:
            (tmp_path / folder / file).touch()
    rows = [f"{path.name[0]},{path.name}" for path in sorted(tmp_path.iterdir())]
    (tmp_path / "queries.csv").write_text("\n".join(["sample,h5ad", *rows]))
    (found,) = problems({"input": "queries.csv", "model": DATA}, folder=tmp_path)
    assert [text.split(": ", 1)[1] for text in found] == [
        "e.csv is neither an .h5ad or 10x .h5 file nor a 10x mtx folder.",
        f"the folder {tmp_path}/h has 2 .mtx or .mtx.gz files, but a 10x folder has one.",
        f"the folder {tmp_path}/i has no .mtx or .mtx.gz file, but a 10x folder has one.",
    ]


def test_a_long_list_of_problems_is_cut(tmp_path: Path):
    (tmp_path / "queries.csv").write_text("sample,h5ad\n" + "".join(f"s{number},none_{number}.h5ad\n" for number in range(300)))
    output = refused("--input", "queries.csv", "--model", DATA, folder=tmp_path)
    assert output.count("there is no file") == 20
    assert "... and 280 more problems (300 in all)." in output
