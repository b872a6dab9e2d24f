"""How many files the corpus has, as the table in docs/reliability.md: `python -m tests.corpus`."""

from collections import Counter

from tests.corpus import cells, results, sheets


def outcomes() -> list[tuple[str, str, bool]]:
    """Of each file of the corpus: what it is, the script that reads it first, and whether it is read (else refused)."""
    found = [("queries", "preprocess_query", case.ok) for case in cells.QUERIES]
    found += [("references", "preprocess_reference", case.ok) for case in cells.REFERENCES]
    found += [("samplesheets", "check_inputs", sheet.script is None) for sheet in sheets.SHEETS.values()]
    found += [("label maps", "consensus", sheet.script is None) for sheet in sheets.LABEL_MAPS.values()]
    found += [("gene maps", "preprocess_query", refusal is None) for _, refusal in sheets.MAPS.values()]
    found += [("gene sets", "check_inputs", refusal is None) for _, refusal in sheets.GENE_SETS.values()]
    return found + [("results of other steps", case.script, case.ok) for case in results.CASES]


def table() -> str:
    """The counts as a table of Markdown, the last line being their sums."""
    found = outcomes()
    rows = ["| files | script | read | refused |", "| --- | --- | --- | --- |"]
    for kind, script in dict.fromkeys((kind, script) for kind, script, _ in found):
        count = Counter(ok for *names, ok in found if names == [kind, script])
        rows.append(f"| {kind} | `{script}.py` | {count[True]} | {count[False]} |")
    read = sum(ok for *_, ok in found)
    return "\n".join([*rows, f"| all {len(found)} | | {read} | {len(found) - read} |"])


if __name__ == "__main__":
    print(table())
