"""Text files as editors and spreadsheets save them: samplesheets, label maps, gene maps, gene sets, each with what is expected.

Samplesheets and label maps have two parsers, the scripts' and the pipeline's: each is tested with the same files
(tests/corpus/test_corpus.py, tests/pipeline/test_sheets.py).
"""

import gzip
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Sheet:
    """content: the file, with {q} for a good query. script, pipeline: a part of what the parser refuses it with (None: it is
    read). settings: what is read of its first row beside sample and path. problems: how many the pipeline tells."""

    content: bytes
    script: str | None = None
    pipeline: str | None = None
    settings: dict[str, str] = field(default_factory=dict)
    problems: int = 1


HEAD, ROW = "sample,h5ad,truth_key", "a,{q},cell_type"
PLAIN = f"{HEAD}\n{ROW}\n"
TRUTH = {"truth_key": "cell_type"}
NO_UTF8 = "is not UTF-8 text. Save it as CSV UTF-8."
UTF16 = "is UTF-16 text. Save it as CSV UTF-8."
QUOTE = 'a quote (") is not closed, or not at the end of its cell. Put the whole cell in quotes, and double those in it.'
SEMICOLONS = "is separated by semicolons. Save it as CSV, with commas between the cells."
NOTHING = " is empty: it needs a line with the columns sample,h5ad and a line for each query."


def read(text: str | bytes, pipeline: str | None = None, **settings: str) -> Sheet:
    """A sheet that the scripts read; the pipeline, too, unless it says something."""
    return Sheet(text if isinstance(text, bytes) else text.encode(), None, pipeline, settings)


def refused(text: str | bytes, script: str, pipeline: str, problems: int = 1) -> Sheet:
    """A sheet that neither reads."""
    return Sheet(text if isinstance(text, bytes) else text.encode(), script, pipeline, problems=problems)


def filled(content: bytes, query: object) -> bytes:
    """A file with the path of a query for {q}, in the file's own encoding."""
    for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
        content = content.replace("{q}".encode(encoding), str(query).encode(encoding))
    return content


SHEETS = {
    "plain": read(PLAIN, **TRUTH),
    "byte_order_mark": read(b"\xef\xbb\xbf" + PLAIN.encode(), **TRUTH),
    "line_ends_of_windows": read(PLAIN.replace("\n", "\r\n"), **TRUTH),
    "line_ends_of_old_macs": read(PLAIN.replace("\n", "\r"), **TRUTH),
    "no_line_end_at_the_end": read("sample,h5ad\na,{q}"),
    "all_quoted": read('"sample","h5ad","truth_key","counts_layer"\n"a","{q}","cell_type",""\n', **TRUTH),
    "blanks_around_cells": read(" sample , h5ad ,truth_key\n a ,{q} , cell_type \n", **TRUTH),
    # Python's csv takes a blank behind a quote for text behind it.
    "blanks_around_quotes": Sheet(b' sample , "h5ad" ,truth_key\n a ,{q} , "cell_type" \n', "line 1 has a quote", None, TRUTH),
    "empty_columns_at_the_end": read(f"{HEAD},,\n{ROW},,\n", **TRUTH),
    "empty_columns_in_quotes": read(f'{HEAD},"",""\n{ROW},"",""\n', **TRUTH),
    "empty_rows": read(f"{HEAD}\n,,\n{ROW}\n,,\n\n , ,\n", **TRUTH),
    "surplus_empty_cells": read(f"{HEAD}\n{ROW},,\n", **TRUTH),
    "semicolons": read(PLAIN.replace(",", ";"), SEMICOLONS, **TRUTH),
    "tabs": read(PLAIN.replace(",", "\t"), "is separated by tabs. Save it as CSV, with commas between the cells.", **TRUTH),
    "utf_16": read(PLAIN.encode("utf-16"), UTF16, **TRUTH),
    "utf_16_of_big_ends": read(b"\xfe\xff" + PLAIN.encode("utf-16-be"), UTF16, **TRUTH),
    "a_first_line_of_excel": read("sep=;\nsample;h5ad\na;{q}\n", SEMICOLONS),
    # That a text was read as it is meant shows in what is not found.
    "quotes_in_a_cell": Sheet(
        f'{HEAD}\na,{{q}},"the ""true"" one, of two"\n'.encode(),
        "column 'the \"true\" one, of two'",
        None,
        {"truth_key": 'the "true" one, of two'},
    ),
    "a_long_cell": Sheet(
        (f'{HEAD}\na,{{q}},"' + "x" * 50_000 + '""' * 5_000 + '"\n').encode(),
        "xxx",
        None,
        {"truth_key": "x" * 50_000 + '"' * 5_000},
    ),
    "utf_16_without_its_mark": refused(PLAIN.encode("utf-16-le"), "is not a text file", NO_UTF8),
    "latin_1": refused("sample,h5ad\ngr\xf6\xdfe,{q}\n".encode("latin-1"), "is not a text file in UTF-8 (line 2)", NO_UTF8),
    "a_workbook": refused(b"PK\x03\x04\x14\x00\x06\x00\xff\xfe", "is packed by zip, as workbooks are", NO_UTF8),
    "an_open_quote": refused(f'{HEAD}\n{ROW}\nb,"{{q}},x\n', 'line 3 has a quote (") that is not closed', f", line 3: {QUOTE}"),
    "an_open_quote_in_the_columns": refused(f'"sample,h5ad\n{ROW}\n', "line 1 has a quote", f", line 1: {QUOTE}"),
    "text_after_a_quote": refused(f'{HEAD}\na,"{{q}}"x,y\n', "line 2 has a quote", f", line 2: {QUOTE}"),
    "nothing": refused("", "lacks the column sample", NOTHING),
    "blank_lines_alone": refused("\n\n", "lacks the column sample", NOTHING),
    "commas_alone": refused(",,\n,,\n", "lacks the column sample", NOTHING),
    "columns_alone": refused("sample,h5ad\n", "names no query", "names no query: add a line for each below its columns."),
    "no_sample": refused("sample,h5ad\n,{q}\n", ", line 2: sample is empty.", ", line 2: sample is empty."),
    "no_file": refused("sample,h5ad\na,\n", ", line 2: h5ad is empty.", ", line 2: h5ad is empty."),
    "an_unknown_column": refused(
        "sample,h5ad,colour\na,{q},red\n",
        "has a column 'colour' that means nothing here",
        "has a column 'colour' that means nothing here",
    ),
    "a_column_without_a_name": refused("sample,,h5ad\na,,{q}\n", "column ''", " has a column '' that means nothing here;"),
    "a_column_twice": refused("sample,h5ad,h5ad\na,{q},{q}\n", "has the column h5ad 2 times.", "has the column h5ad 2 times."),
    "a_name_that_climbs": refused(
        "sample,h5ad\n../a,{q}\n", *2 * [", line 2: the sample name is '../a'. A sample name may hold only letters"]
    ),
    "a_name_that_is_too_long": refused(
        f"sample,h5ad\n{'a' * 81},{{q}}\n",
        *2 * [f", line 2: the sample name is '{'a' * 81}'. A sample name may hold only letters"],
    ),
    "a_cell_without_end": refused(
        "sample,h5ad\na," + "x" * 200_000 + "\n", "is longer than a cell can be", ", line 2: there is no file "
    ),
    "a_name_twice": refused(
        "sample,h5ad\na,{q}\na,{q}\n", ": the sample name a is used by lines 2, 3", ": the sample name a is used by lines 2, 3"
    ),
    "names_of_other_case": refused(
        "sample,h5ad\na,{q}\nA,{q}\n",
        "the sample names a, A differ only in capital letters",
        ": the sample names a, A differ only in capital letters",
    ),
    "too_many_cells": refused(
        "sample,h5ad\na,{q},x,y\n", ", line 2: 4 cells, but there are 2 columns.", ", line 2: 4 cells, but there are 2 columns."
    ),
    "too_few_cells": refused(
        "sample,h5ad,truth_key\na,{q}\n",
        ", line 2: 2 cells, but there are 3 columns.",
        ", line 2: 2 cells, but there are 3 columns.",
    ),
    "a_file_that_is_not_there": refused("sample,h5ad\na,nowhere.h5ad\n", "there is no such file", ", line 2: there is no file "),
    "the_wrong_file": refused("sample,h5ad\na,sheet.csv\n", "sheet.csv", ", line 2: there is no file "),
    "thousands_of_wrong_rows": refused(
        "sample,h5ad\n" + ",x.h5ad\n" * 3000, "... and 2,980 more problems (3,000 in all).", ", line 2: sample is empty.", 6000
    ),
}
"""Samplesheets by name."""
READ_IN_VAIN = ("quotes_in_a_cell", "a_long_cell")
"""What the scripts read as it is meant, and refuse because the query has no such column."""

LABEL_MAP = "reference\tlabel\tcommon_label\na\tB\tb\n"
LABEL_MAPS = {
    "plain": read(LABEL_MAP),
    "byte_order_mark_and_windows": read(b"\xef\xbb\xbf" + LABEL_MAP.replace("\n", "\r\n").encode() + b"\t\t\r\n"),
    "all_quoted": read('"reference"\t"label"\t"common_label"\n"a"\t"B"\t"b"\n'),
    "utf_16": read(LABEL_MAP.encode("utf-16"), "is UTF-16 text. Save it as tab-separated text, UTF-8."),
    "latin_1": refused(
        LABEL_MAP.replace("b", "\xe9").encode("latin-1"),
        "is not a text file in UTF-8 (line 1)",
        "is not UTF-8 text. Save it as tab-separated text, UTF-8.",
    ),
    "commas": refused(LABEL_MAP.replace("\t", ","), "with tabs between them", "with tabs between them."),
    "nothing": refused("", "with tabs between them", "with tabs between them."),
}
"""Label maps of the reference `a` by name: B is b."""

MAPS = {
    "good": (b"from\tto\nX1\tGENE1\n", None),
    "byte_order_mark": (b"\xef\xbb\xbfX1\tGENE1\n", None),
    "utf_16": ("X1\tGENE1\n".encode("utf-16"), None),
    "comments_and_empty_lines": (b"# aliases\n\nX1\tGENE1\n", None),
    "latin_1": (b"X1\tG\xe9n\n", "is not a text file in UTF-8 (line 1)"),
    "quotes_of_r": (b'"from"\t"to"\n"X1"\t"GENE1"\n', None),
    "an_open_quote": (b'X1\t"GENE1\n', 'line 1 has a quote (") that is not closed'),
    "nothing": (b"", "holds no names"),
    "columns_alone": (b"from\tto\n", "holds no names"),
    "commas": (b"from,to\nX1,GENE1\n", "its names are separated by commas, not by tabs"),
    "semicolons": (b"X1;GENE1\n", "its names are separated by semicolons, not by tabs"),
    "one_column": (b"X1\nX2\n", "line 1 does not have two tab-separated names"),
    "binary": (b"\x00\x01\x02", "is not a text file"),
    "packed": (gzip.compress(b"X1\tGENE1\n", mtime=0), "is packed by gzip, and has to be unpacked first"),
    "thousands_of_wrong_lines": (b"X1\n" * 2000, "more problems (2,000 in all)"),
}
"""Gene maps alike."""

GENE_SETS = {
    "good": (b"T\tx\tGENE1\tGENE2\tGENE3\n", None),
    "byte_order_mark": (b"\xef\xbb\xbfT\tx\tGENE1\tGENE2\n", None),
    "line_ends_of_windows": (b"T\tx\tGENE1\tGENE2\r\n", None),
    "quotes_of_r": (b'"T"\t"x"\t"GENE1"\t"GENE2"\n', None),
    "nothing": (b"", "holds no gene set"),
    "commas": (b"T,x,GENE1\n", "has no genes"),
    "no_name": (b"\tx\tGENE1\n", "the set has no name"),
    "a_name_twice": (b"T\tx\tGENE1\nT\tx\tGENE2\n", "is already in line 1"),
    "latin_1": (b"T\xe9\tx\tGENE1\n", "is not a text file in UTF-8 (line 1)"),
    "binary": (b"\x00\x01", "is not a text file"),
    "packed": (gzip.compress(b"T\tx\tGENE1\n", mtime=0), "is packed by gzip, and has to be unpacked first"),
}
"""GMT files alike."""
