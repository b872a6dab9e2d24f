"""How the queries' genes and values met the model's panel."""

from collections.abc import Sequence

from cellmemory.reference.coverage import expected_accuracy
from cellmemory.reference.trained_model import TrainedModel
from cellmemory.report import wording
from cellmemory.report.blocks import Facts, Notes, Section, Table, bounded
from cellmemory.report.data import Sample, alignment_of

#: Above this share of the panel nothing is lost that a new training could win.
WHOLE_PANEL = 0.98
_ALIGNMENT = (
    ("coverage", "Panel measured", "share"),
    ("matched", "Matched", "count"),
    ("genes_in_file", "In the file", "count"),
    ("id_type", "Gene ids", "text"),
    ("value_scale", "Values", "text"),
    ("values_from", "Taken from", "text"),
    ("renamed", "Renamed", "count"),
    ("summed", "Summed", "count"),
    ("unknown", "Unknown", "count"),
)
_REFERENCE_FACTS = (
    ("path", "File"),
    ("cells", "Cells"),
    ("genes", "Genes"),
    ("label_key", "Label column"),
    ("id_type", "Gene ids"),
    ("value_scale", "Values"),
)


def section(samples: Sequence[Sample], inputs: dict | None, trained: TrainedModel) -> Section:
    """How the queries' genes and values met the model's panel."""
    lead = (
        "The model reads a fixed panel of genes. A gene that a query did not measure is absent, not zero; the fewer "
        "genes are measured, the less certain the labels."
    )
    found = {sample.name: alignment for sample in samples if (alignment := alignment_of(sample))}
    blocks: list = []
    if found:
        columns = [("Sample", "text"), *((title, kind) for _, title, kind in _ALIGNMENT)]
        rows = [[name, *(alignment.get(key) for key, _, _ in _ALIGNMENT)] for name, alignment in found.items()]
        caption = (
            "Panel measured: the share of the model's genes that the file holds. Summed: rows of the file that were "
            "added to another of the same gene. Unknown: genes of the file that the model does not use."
        )
        blocks.append(Table("alignment", "Genes and values", columns, rows, caption))
        blocks += [Notes([str(m) for m in a["messages"]], name) for name, a in found.items() if a.get("messages")]
        small = [(name, a["coverage"]) for name, a in found.items() if a.get("coverage", 1) < WHOLE_PANEL]
        if small:
            blocks.append(Notes([_loss_of_coverage(*one, trained) for one in small], "What a smaller panel costs"))
        remarks = {"missing_genes": "not measured", "summed_genes": "summed over several rows of the file"}
        genes = [[n, gene, remark] for n, a in found.items() for key, remark in remarks.items() for gene in a.get(key, ())]
        if genes:
            columns = [("Sample", "text"), ("Gene", "text"), ("Remark", "text")]
            blocks.append(bounded("panel_genes", "Panel genes that were summed or not measured", columns, genes))
    else:
        blocks.append(Notes(["No alignment file was given, so that panel coverage is not shown."]))
    reference = (inputs or {}).get("reference")
    if reference:
        facts = [(title, wording.shown(reference[key])) for key, title in _REFERENCE_FACTS if key in reference]
        blocks.append(Facts("Reference file", facts))
    if inputs and inputs.get("gmt"):
        blocks.append(
            Facts("Gene sets", [(str(g.get("name", "")), wording.count(g.get("sets", 0), "set")) for g in inputs["gmt"]])
        )
    return Section("inputs", "Input checks", lead, blocks)


def _loss_of_coverage(sample: str, coverage: float, trained: TrainedModel) -> str:
    """What a query of this coverage has to expect, and what training on its own genes could win."""
    tried = trained.calibration.panel_accuracy
    whole, fewer = (expected_accuracy(tried, share) for share in (1.0, coverage))
    return (
        f"{sample} measured {coverage:.0%} of the panel. On cells held out of the reference, with as few genes left, at random, "
        f"{fewer:.0%} of the labels are right, with all genes {whole:.0%}. A model trained on the genes that this query measured "
        "(a run with --reference) would choose others in place of those that are missing: what it can win back is that "
        f"difference, {max(0.0, whole - fewer):.1%}, at most."
    )
