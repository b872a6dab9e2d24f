#!/usr/bin/env python3
"""Makes docs/examples/tutorial.ipynb of docs/tutorial.md: a page and a notebook that say the same."""

import json
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
NOTEBOOK = DOCS / "examples" / "tutorial.ipynb"
#: What a cell of the notebook sees of the page's links.
AWAY = "../"


def notebook(page: str) -> str:
    """The notebook of a page: its blocks of Python are cells to run, what stands between them is text."""
    parts = re.split(r"^```python\n(.*?)^```\n", page, flags=re.MULTILINE | re.DOTALL)
    cells = [_cell(part.strip("\n"), code=place % 2 == 1, number=place) for place, part in enumerate(parts) if part.strip()]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _cell(text: str, *, code: bool, number: int) -> dict:
    cell = {"cell_type": "code" if code else "markdown", "id": f"part-{number}", "metadata": {}}
    if code:
        return cell | {"execution_count": None, "outputs": [], "source": text.splitlines(keepends=True)}
    text = re.sub(r"\]\((?!https?:|#)", rf"]({AWAY}", text).replace(f"]({AWAY}examples/", "](")
    return cell | {"source": text.splitlines(keepends=True)}


def main() -> None:
    NOTEBOOK.write_text(notebook((DOCS / "tutorial.md").read_text()), encoding="utf-8")
    print(f"Wrote {NOTEBOOK}.")


if __name__ == "__main__":
    main()
