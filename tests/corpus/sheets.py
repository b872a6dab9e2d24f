"""Text files as editors and spreadsheets save them: samplesheets, gene maps, gene sets, each with what is expected."""

SHEETS = {
    "good": (b"sample,h5ad\na,{q}\n", None),
    "byte_order_mark": (b"\xef\xbb\xbfsample,h5ad\na,{q}\n", None),
    "line_ends_of_windows": (b"sample,h5ad\r\na,{q}\r\n", None),
    "line_ends_of_old_macs": (b"sample,h5ad\ra,{q}\r", None),
    "no_line_end_at_the_end": (b"sample,h5ad\na,{q}", None),
    "utf_16": ("sample,h5ad\na,{q}\n".encode("utf-16"), None),
    "semicolons": (b"sample;h5ad\na;{q}\n", None),
    "tabs": (b"sample\th5ad\na\t{q}\n", None),
    "all_quoted": (b'"sample","h5ad","counts_layer"\n"a","{q}",""\n', None),
    "empty_columns_at_the_end": (b"sample,h5ad,,\na,{q},,\n", None),
    "empty_rows": (b"sample,h5ad\na,{q}\n,,\n\n,\n", None),
    "blanks_around_cells": (b"sample , h5ad\n a , {q} \n", None),
    "latin_1": ("sample,h5ad\ngr\xf6\xdfe,{q}\n".encode("latin-1"), "this is not a text file in UTF-8 (line 2)"),
    "a_workbook": (b"PK\x03\x04\x14\x00\x00\x00", "is not a text file"),
    "an_open_quote": (b'sample,h5ad\n"a,{q}\n', 'line 2 has a quote (") that is not closed'),
    "text_after_a_quote": (b'sample,h5ad\n"a"b,{q}\n', "line 2 has a quote"),
    "nothing": (b"", "has no column 'sample'"),
    "blank_lines_alone": (b"\n\n", "has no column 'sample'"),
    "columns_alone": (b"sample,h5ad\n", "has no row"),
    "no_sample": (b"sample,h5ad\n,{q}\n", "line 2 has no sample"),
    "no_file": (b"sample,h5ad\na,\n", "line 2 has no h5ad"),
    "an_unknown_column": (b"sample,h5ad,colour\na,{q},red\n", "column 'colour' is not known"),
    "a_column_twice": (b"sample,h5ad,h5ad\na,{q},{q}\n", "has the column 'h5ad' 2 times"),
    "a_name_twice": (b"sample,h5ad\na,{q}\na,{q}\n", "the sample name 'a' is on 2 lines"),
    "too_many_cells": (b"sample,h5ad\na,{q},x,y\n", "line 2 has 4 cells, but there are 2 columns"),
    "too_few_cells": (b"sample,h5ad,truth_key\na,{q}\n", "line 2 has 2 cells, but there are 3 columns"),
    "a_file_that_is_not_there": (b"sample,h5ad\na,nowhere.h5ad\n", "there is no such file"),
    "the_wrong_file": (b"sample,h5ad\na,sheet.csv\n", "sheet.csv"),
    "thousands_of_wrong_rows": (b"sample,h5ad\n" + b",x.h5ad\n" * 3000, "... and 2,980 more problems (3,000 in all)."),
}
"""Samplesheets by name: content, with {q} for a good query, and a part of the refusal (None: it is read)."""

MAPS = {
    "good": (b"from\tto\nX1\tGENE1\n", None),
    "byte_order_mark": (b"\xef\xbb\xbfX1\tGENE1\n", None),
    "utf_16": ("X1\tGENE1\n".encode("utf-16"), None),
    "comments_and_empty_lines": (b"# aliases\n\nX1\tGENE1\n", None),
    "latin_1": (b"X1\tG\xe9n\n", "this is not a text file in UTF-8 (line 1)"),
    "commas": (b"from,to\nX1,GENE1\n", "its names are separated by commas, not by tabs"),
    "semicolons": (b"X1;GENE1\n", "its names are separated by semicolons, not by tabs"),
    "one_column": (b"X1\nX2\n", "line 1 does not have two tab-separated names"),
    "binary": (b"\x00\x01\x02", "is not a text file"),
    "thousands_of_wrong_lines": (b"X1\n" * 2000, "more problems (2,000 in all)"),
}
"""Gene maps alike."""

GENE_SETS = {
    "good": (b"T\tx\tGENE1\tGENE2\tGENE3\n", None),
    "byte_order_mark": (b"\xef\xbb\xbfT\tx\tGENE1\tGENE2\n", None),
    "line_ends_of_windows": (b"T\tx\tGENE1\tGENE2\r\n", None),
    "nothing": (b"", "holds no gene set"),
    "commas": (b"T,x,GENE1\n", "has no genes"),
    "no_name": (b"\tx\tGENE1\n", "the set has no name"),
    "a_name_twice": (b"T\tx\tGENE1\nT\tx\tGENE2\n", "is already in line 1"),
    "latin_1": (b"T\xe9\tx\tGENE1\n", "this is not a text file in UTF-8 (line 1)"),
    "binary": (b"\x00\x01", "is not a text file"),
}
"""GMT files alike."""
