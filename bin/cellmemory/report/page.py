"""Renders sections to one HTML file: style, script, plotly and data inside it, nothing loaded from anywhere.

Text is escaped by jinja2; data travel as JSON that no markup can end. The page's policy lets the browser run the two
scripts with the right checksums and nothing else, and load nothing.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from cellmemory import __version__
from cellmemory.reference.trained_model import TrainedModel
from cellmemory.report import points, sections
from cellmemory.report.blocks import Section, plain
from cellmemory.report.colours import THEMES, palette
from cellmemory.report.data import RunFacts, Sample
from cellmemory.report.wording import EXPLAINED

_HERE = Path(__file__).parent
MAX_BYTES = 14_500_000
#: The parts of the page's script, in the order in which they build on each other.
SCRIPTS = ("base", "figures", "explorer", "selection", "tables", "start")


def label_colours(samples: Sequence[Sample], trained: TrainedModel) -> dict[str, str]:
    """Every label's colour: the model's in its order, then true types that the reference lacks, then labels of coarser
    levels, which take the colour of their largest child."""
    truths = {str(level) for s in samples if s.truth is not None for level in s.truth.cat.categories}
    names = [*trained.labels, *sorted(truths - set(trained.labels))]
    colours = dict(zip(names, palette(len(names)), strict=True))
    if trained.hierarchy:
        largest_first = trained.label_table["n_cells"].to_numpy().argsort(kind="stable")[::-1]
        ancestors = trained.hierarchy.ancestors.iloc[largest_first]
        for level in trained.hierarchy.levels[:-1]:
            largest = ancestors.drop_duplicates(level)
            for parent, child in zip(largest[level], largest[trained.hierarchy.levels[-1]], strict=True):
                colours.setdefault(parent, colours[child])
    return colours


def build(
    samples: Sequence[Sample],
    trained: TrainedModel,
    facts: RunFacts,
) -> tuple[str, list[Section]]:
    """The whole page, and what it is made of."""
    colours, shades = label_colours(samples, trained), palette(100)
    parts = sections.all_sections(samples, trained, facts, colours=colours, palette=shades)
    blocks = [block for part in parts for block in part.blocks]
    data: dict[str, Any] = {
        "themes": THEMES,
        "explained": EXPLAINED,
        "cells": points.payload(samples, colours, shades),
        "figures": {b.id: {"variants": b.variants} for b in blocks if b.kind == "figure"},
        "tables": {b.id: {"id": b.id, "columns": b.columns, "rows": plain(b.rows)} for b in blocks if b.kind == "table"},
        "explorers": {b.id: {"space": b.space} for b in blocks if b.kind == "explorer"},
    }
    # Genes take what the rest leaves: a page that is too large opens slowly and cannot be sent by mail.
    left = MAX_BYTES - len(_plotly_js()) - len(safe_json(data))
    data["cells"]["genes"] = points.genes(samples, min(points.GENE_BYTES, left))
    title = samples[0].name if len(samples) == 1 else f"Run of {len(samples)} samples"
    return render(title, parts, data, written=(facts.provenance or {}).get("written", "")), parts


def render(title: str, parts: Sequence[Section], data: dict, *, written: str = "") -> str:
    """The page of the given sections; data: what the page's script draws of them; written: the day, where it is known."""
    plotly, script = _plotly_js(), _page_script()
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string((_HERE / "page.html.j2").read_text()).render(
        title=title,
        version=__version__,
        written=written,
        sections=parts,
        style=Markup((_HERE / "page.css").read_text()),
        plotly=Markup(plotly),
        script=Markup(script),
        data=Markup(safe_json(data)),
        hashes=[_csp_hash(plotly), _csp_hash(script)],
    )


def safe_json(value: object) -> str:
    """JSON that may stand inside a script element whatever it says, and that every JavaScript reads."""
    written = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return written


def _page_script() -> str:
    """The page's own script: the files of `script/`, one behind the other, in a scope of their own."""
    parts = "\n".join((_HERE / "script" / f"{name}.js").read_text() for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


@cache
def _plotly_js() -> str:
    """plotly's own bundle, as its package ships it; found without importing the package, which takes a while."""
    package = find_spec("plotly")
    assert package
    assert package.origin
    return (Path(package.origin).parent / "package_data" / "plotly.min.js").read_text().strip()


def _csp_hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
