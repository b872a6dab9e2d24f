"""Sheets as spreadsheets, editors and other countries save them: read, or refused by one sentence. Nothing is thrown."""

import json
import re
from pathlib import Path

import pytest

from tests.pipeline.nextflow import DATA, ROOT, nextflow, refused

QUERY = DATA / "unseen_type.h5ad"
HEAD, ROW = "sample,h5ad,truth_key", f"A,{QUERY},author_label"
PLAIN = f"{HEAD}\n{ROW}\n"
READ = [[{"id": "A", "row": 1, "truth_key": "author_label"}, str(QUERY)]]
DOUBLED = '""'
QUOTE = 'a quote (") is not closed, or not at the end of its cell. Put the whole cell in quotes, and double those in it.'

SHEETS = {
    "plain": (PLAIN, READ),
    "bom": (b"\xef\xbb\xbf" + PLAIN.encode(), READ),
    "windows": (PLAIN.replace("\n", "\r\n"), READ),
    "old_mac": (PLAIN.replace("\n", "\r"), READ),
    "quoted": (f'"sample","h5ad","truth_key","counts_layer"\n"A","{QUERY}","author_label",""\n', READ),
    "blanks": (f' sample , "h5ad" ,truth_key\n A ,{QUERY} , "author_label" \n', READ),
    "empty_columns": (f"{HEAD},,\n{ROW},,\n", READ),
    "empty_columns_in_quotes": (f'{HEAD},"",""\n{ROW},"",""\n', READ),
    "empty_rows": (f"{HEAD}\n,,\n{ROW}\n,,\n\n , ,\n", READ),
    "surplus_empty_cells": (f"{HEAD}\n{ROW},,\n", READ),
    "quotes_in_a_cell": (
        f'{HEAD}\nA,{QUERY},"the ""true"" one, of two"\n',
        [[{"id": "A", "row": 1, "truth_key": 'the "true" one, of two'}, str(QUERY)]],
    ),
    "long_cell": (
        f'{HEAD}\nA,{QUERY},"{"x" * 50_000}{DOUBLED * 5_000}"\n',
        [[{"id": "A", "row": 1, "truth_key": "x" * 50_000 + '"' * 5_000}, str(QUERY)]],
    ),
    "semicolons": (PLAIN.replace(",", ";"), "is separated by semicolons. Save it as CSV, with commas between the cells."),
    "tabs": (PLAIN.replace(",", "\t"), "is separated by tabs. Save it as CSV, with commas between the cells."),
    "unicode_text": (PLAIN.encode("utf-16"), "is UTF-16 text. Save it as CSV UTF-8."),
    "big_endian": (b"\xfe\xff" + PLAIN.encode("utf-16-be"), "is UTF-16 text. Save it as CSV UTF-8."),
    "utf16_without_bom": (PLAIN.encode("utf-16-le"), "is not UTF-8 text. Save it as CSV UTF-8."),
    "latin1": (f"{HEAD}\nA,{QUERY},état\n".encode("latin-1"), "is not UTF-8 text. Save it as CSV UTF-8."),
    "workbook": (b"PK\x03\x04\x14\x00\x06\x00\xff\xfe", "is not UTF-8 text. Save it as CSV UTF-8."),
    "open_quote": (f'{HEAD}\n{ROW}\nB,"{QUERY},x\n', f", line 3: {QUOTE}"),
    "text_behind_a_quote": (f'{HEAD}\nA,"{QUERY}"x,y\n', f", line 2: {QUOTE}"),
    "open_quote_in_columns": (f'"sample,h5ad\n{ROW}\n', f", line 1: {QUOTE}"),
    "only_commas": (",,\n,,\n", " is empty: it needs a line with the columns sample,h5ad and a line for each query."),
    "nothing": ("", " is empty: it needs a line with the columns sample,h5ad and a line for each query."),
    "nameless_column": (f"sample,,h5ad\nA,,{QUERY}\n", " has a column '' that means nothing here;"),
    "long_name": (f"sample,h5ad\n{'a' * 81},{QUERY}\n", f", line 2: the sample name '{'a' * 80}...' has 81 characters"),
    "alike": (f"sample,h5ad\na,{QUERY}\nA,{QUERY}\n", ": the sample names a, A differ only in capital letters"),
}  # fmt: skip
REFERENCES = {
    "quoted": (f'"reference","h5ad","model","label_key"\n"a","{QUERY}","","x"\n', [[{"id": "a", "label_key": "x"}, str(QUERY)]]),
    "empty": (f"reference,h5ad,,\na,{QUERY},,\n,,,\n", [[{"id": "a", "label_key": "all"}, str(QUERY)]]),
    "semicolons": (f"reference;h5ad\na;{QUERY}\n", "is separated by semicolons."),
    "unicode_text": (f"reference,h5ad\na,{QUERY}\n".encode("utf-16"), "is UTF-16 text. Save it as CSV UTF-8."),
    "open_quote": (f'reference,h5ad\na,"{QUERY}\n', f", line 2: {QUOTE}"),
    "alike": (f"reference,h5ad\na,{QUERY}\nA,{QUERY}\n", ": the reference names a, A differ only in capital letters"),
}
MAP = "reference\tlabel\tcommon_label\na\tB\tb\n"
MAPS = {
    "plain": (MAP, None),
    "bom_and_windows": (b"\xef\xbb\xbf" + MAP.replace("\n", "\r\n").encode() + b"\t\t\r\n", None),
    "unicode_text": (MAP.encode("utf-16"), "is UTF-16 text. Save it as tab-separated text, UTF-8."),
    "latin1": (MAP.replace("b", "é").encode("latin-1"), "is not UTF-8 text. Save it as tab-separated text, UTF-8."),
    "commas": (MAP.replace("\t", ","), "with tabs between them."),
    "nothing": ("", "with tabs between them."),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list]]:
    """What the functions say of every sheet, in one run: [what was read, problems]."""
    folder = tmp_path_factory.mktemp("sheets")
    for kind, sheets in {"queries": SHEETS, "references": REFERENCES, "maps": MAPS}.items():
        (folder / kind).mkdir()
        for name, (content, _expected) in sheets.items():
            (folder / kind / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "main.nf").write_text(f"""
        include {{ readSamplesheet }} from '{ROOT}/functions/samplesheet.nf'
        include {{ labelMapProblems; readReferences }} from '{ROOT}/functions/references.nf'
        def of(kind, read) {{
            return file("${{projectDir}}/${{kind}}").listFiles().collectEntries {{ sheet ->
                def (rows, problems) = read.call(sheet)
                [sheet.name, [rows.collect {{ meta, path -> [meta, "${{path}}"] }}, problems.collect {{ text -> "${{text}}" }}]]
            }}
        }}
        workflow {{
            def found = [
                queries: of('queries') {{ sheet -> readSamplesheet(sheet) }},
                references: of('references') {{ sheet -> readReferences(sheet, [label_key: 'all']) }},
                maps: of('maps') {{ sheet -> [[], labelMapProblems(sheet, ['a'])] }},
            ]
            file("${{projectDir}}/found.json").text = groovy.json.JsonOutput.toJson(found)
        }}
        """)
    run = nextflow("run", "main.nf", folder=folder)
    assert run.status == 0, run.output
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("name", SHEETS)
def test_samplesheets(name: str, found: dict):
    check(name, SHEETS[name][1], *found["queries"][name])


@pytest.mark.parametrize("name", REFERENCES)
def test_sheets_of_references(name: str, found: dict):
    check(name, REFERENCES[name][1], *found["references"][name])


@pytest.mark.parametrize("name", MAPS)
def test_label_maps(name: str, found: dict):
    check(name, MAPS[name][1] or [], *found["maps"][name])


def check(name: str, expected: list | str, read: list, problems: list[str]) -> None:
    """Either what was read, or the one sentence, is as expected."""
    if isinstance(expected, list):
        assert [read, problems] == [expected, []]
    else:
        assert read == []
        assert len(problems) == 1
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
    output = refused("--input", "queries.csv", "--model", DATA, folder=tmp_path)
    assert len(re.findall("queries.csv, line", output)) == 3
    assert "e.csv is neither an .h5ad or 10x .h5 file nor a 10x mtx folder." in output
    assert f"the folder {tmp_path}/h has 2 .mtx or .mtx.gz files, but a 10x folder has one." in output
    assert f"the folder {tmp_path}/i has no .mtx or .mtx.gz file, but a 10x folder has one." in output


def test_a_long_list_of_problems_is_cut(tmp_path: Path):
    (tmp_path / "queries.csv").write_text("sample,h5ad\n" + "".join(f"s{number},none_{number}.h5ad\n" for number in range(300)))
    output = refused("--input", "queries.csv", "--model", DATA, folder=tmp_path)
    assert output.count("there is no file") == 20
    assert "... and 280 more problems (300 in all)." in output
