"""The report's sections in order, a module for each: its figures, tables and notes, and why one is not there."""

from collections.abc import Sequence
from dataclasses import replace

from cellmemory.reference.trained_model import TrainedModel
from cellmemory.report.blocks import Block, Section, Table
from cellmemory.report.data import RunFacts, Sample
from cellmemory.report.sections import (
    about,
    checks,
    clusters,
    conditions,
    confidence,
    enrichment,
    label_sets,
    labels,
    maps,
    markers,
    quality,
    references,
    slots,
    spatial,
    summary,
    tags,
    training,
    truth,
)


def all_sections(
    samples: Sequence[Sample],
    trained: TrainedModel,
    facts: RunFacts,
    *,
    colours: dict[str, str],
    palette: Sequence[str],
) -> list[Section]:
    """Every section of the page that has something to show: about the cells first, and then about the model."""
    found = [
        summary.section(samples, trained, facts.inputs, (facts.provenance or {}).get("links", {})),
        labels.section(samples, trained, colours),
        *([references.section(facts.consensus)] if facts.consensus else []),
        maps.section(samples),
        spatial.section(samples),
        markers.section(samples, facts.gene_sets),
        clusters.section(samples),
        truth.section(samples, palette),
        conditions.section(samples),
        quality.section(samples, colours),
        tags.section(samples),
        enrichment.section(samples),
        checks.section(samples, facts.inputs, trained),
        confidence.section(samples, colours),
        label_sets.section(samples, palette),
        slots.section(samples),
        training.section(trained),
    ]
    absent = [part.absent for part in found if part.absent]
    parts = [*(part for part in found if not part.absent), about.section(samples, trained, facts.provenance, absent)]
    if len(samples) == 1:
        parts = [replace(part, blocks=[_without_sample(block) for block in part.blocks]) for part in parts]
    return parts


def _without_sample(block: Block) -> Block:
    """A table without the column that says the same in every row of a sample's own page."""
    if not isinstance(block, Table) or block.id == "samples" or block.columns[0] != ("Sample", "text"):
        return block
    return replace(block, columns=block.columns[1:], rows=[row[1:] for row in block.rows])
