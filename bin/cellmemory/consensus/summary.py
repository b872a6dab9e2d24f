"""How often references agree: on all cells, every two of them, and label by label."""

from collections.abc import Mapping
from itertools import combinations

from cellmemory.columns import CONSENSUS_STATUSES
from cellmemory.consensus.tally import Tally, Vocabulary
from cellmemory.errors import first_ids
from cellmemory.log import say, warn


def summarise(sample: str, tally: Tally, vocabulary: Vocabulary) -> dict:
    """What the tally says, with labels for codes: of all cells, of every two references, and of every label."""
    labels = vocabulary.labels
    pairs = []
    for (one, other), counts in tally.pairs.items():
        together, agreeing = counts.total(), sum(n for (a, b), n in counts.items() if a == b)
        most = sorted(counts.items(), key=lambda item: (-item[1], labels[item[0][0]], labels[item[0][1]]))
        pairs.append({
            "first": one,
            "second": other,
            "cells": together,
            "agreeing": agreeing,
            "agreement": agreeing / together if together else None,
            "labels": [{"first": labels[a], "second": labels[b], "cells": n} for (a, b), n in most],
        })  # fmt: skip
    return {
        "sample": sample,
        "references": tally.references,
        "cells": tally.cells,
        "status": {name: tally.status[code] for code, name in enumerate(CONSENSUS_STATUSES)},
        "unanimous": tally.unanimous,
        "pairs": pairs,
        "labels": [
            {"label": label}
            | {status: tally.outcomes[labels.index(label), code] for code, status in enumerate(CONSENSUS_STATUSES[:3])}
            | {"votes": {name: tally.votes[name][labels.index(label)] for name in tally.references}}
            for label in sorted(labels)
        ],
        "warnings": _no_common_label(sample, tally.references, vocabulary),
    }


def _no_common_label(sample: str, references: list[str], vocabulary: Vocabulary) -> list[str]:
    """A sentence for every two references that share no label: they may only write them differently."""
    met = {name: sorted(vocabulary.met.get(name, ())) for name in references}
    given = {name: {vocabulary.common(name, label) for label in met[name]} for name in references}
    return [
        f"{sample}: the references {one} and {other} give no label in common ({first_ids(met[one], 3)} by the one, "
        f"{first_ids(met[other], 3)} by the other); if they write the same types differently, say so with --label_map."
        for one, other in combinations(references, 2)
        if given[one] and given[other] and not given[one] & given[other]
    ]


def say_summary(summary: dict, label_map: Mapping[tuple[str, str], str], vocabulary: Vocabulary) -> None:
    shares = ", ".join(f"{n:,} {status}" for status, n in summary["status"].items())
    say(f"{summary['sample']}: {summary['cells']:,} cells by {len(summary['references'])} references: {shares}.")
    for pair in summary["pairs"]:
        say(
            f"{pair['first']} and {pair['second']} agree on {pair['agreeing']:,} of the {pair['cells']:,} cells that both assign."
        )
    if label_map:
        unused = [" ".join(names) for names in vocabulary.unused()]
        rest = f"; not {first_ids(unused)}" if unused else ""
        say(f"Label map: {len(label_map) - len(unused)} of {len(label_map)} labels were given to a cell{rest}.")
    for sentence in summary["warnings"]:
        warn(sentence)


def multiqc(summary: dict) -> dict:
    """The summary as custom content for MultiQC: a bar of the cells of each status."""
    colours = {"agreed": "#009e73", "split": "#e69f00", "single": "#56b4e9", "unassigned": "#9aa3aa"}
    return {
        "id": "cellmemory_consensus",
        "section_name": "CellMemory consensus",
        "description": "Whether the references agree on the labels of the cells.",
        "plot_type": "bargraph",
        "pconfig": {
            "id": "cellmemory_consensus_plot",
            "title": "CellMemory: Consensus of the references",
            "ylab": "Cells",
            "cpswitch_counts_label": "Cells",
        },
        "categories": {status: {"name": status, "color": colour} for status, colour in colours.items()},
        "data": {summary["sample"]: summary["status"]},
    }
