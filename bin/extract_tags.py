#!/usr/bin/env python3
"""Extracts type-associated genes from a mapped query: per group of cells, per memory slot, and for two groups contrasted."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

import _cli

if TYPE_CHECKING:
    import numpy as np

    from cellmemory.explanation.attribution import Contributions
    from cellmemory.explanation.contrasts import Contrast, Contrasted
    from cellmemory.explanation.grouping import CellSample
    from cellmemory.mapping.mapped import MappedFile
    from cellmemory.mapping.mapper import Mapper

#: Cells of a group that are mapped again, at most: a mean of these is steady, and a large query takes no longer.
CONTRIBUTION_CELLS = 100


@_cli.command
@click.option("--mapped", "mapped_path", type=_cli.FILE, required=True, metavar="H5AD", help="Mapped query.")
@click.option("--group_key", default="cellmemory_label", help="Obs column that groups the cells.")
@click.option("--cell_list", type=_cli.FILE, metavar="TSV",
              help="Groups of your own instead: a cell's name a line, and after a tab its group.")  # fmt: skip
@click.option("--contrast", "contrasts", multiple=True, metavar="COLUMN:A:B",
              help="Contrast the cells of two values of an obs column within each group; may be given repeatedly.")  # fmt: skip
@click.option("--against", type=_cli.FILE, metavar="H5AD",
              help="Contrast with this mapped file within each group: the reference's cells, or another sample's.")  # fmt: skip
@click.option("--model", type=_cli.FOLDER,
              help="The model that mapped the query: adds what each gene contributes to the labels, in logits.")  # fmt: skip
@click.option("--top", type=click.IntRange(min=0), default=100, help="Genes to list per ranking; 0: all.")
@click.option("--permutations", type=click.IntRange(min=0), default=1000,
              help="Shuffles of the groups behind every p-value; 0: no tests, and none of expression.")  # fmt: skip
@click.option("--test_cells", type=click.IntRange(min=10), default=10_000,
              help="Cells that are tested, at most, small groups whole; means and effects are of all cells.")  # fmt: skip
@click.option("--tags", "tags_path", type=_cli.Output("tags"), required=True, metavar="TSV", help="Output: genes per group.")
@click.option(
    "--slot_tags", "slots_path", type=_cli.Output("slot_tags"), required=True, metavar="TSV", help="Output: genes per slot."
)
@click.option("--contrasts", "contrasts_path", type=_cli.Output("contrasts"), metavar="TSV",
              help="Output: genes per contrast and group. Needed with --contrast and --against.")  # fmt: skip
@click.option("--profiles", "profiles_path", type=_cli.Output("profiles"), metavar="H5AD",
              help="Output: every gene of every ranking, for enrich.py and compare_slots.py.")  # fmt: skip
@_cli.device
@_cli.threads
@_cli.seed
def main(mapped_path: Path, group_key: str, cell_list: Path | None, contrasts: tuple[str, ...], against: Path | None,
         model: Path | None, top: int, permutations: int, test_cells: int, tags_path: Path, slots_path: Path,
         contrasts_path: Path | None, profiles_path: Path | None, device: str, threads: int, seed: int) -> None:  # fmt: skip
    """Extract type-associated genes (TAGs) from the attention of a mapped query.

    Genes are ranked by the mean attention that the cells of a group pay to them; the tables also hold what sets the
    group apart from the others (log2 ratio, effect size, permutation p-value), expression, and whether expression alone would
    have found the gene. Slots are by predicted label.
    """
    if (contrasts or against) and not contrasts_path:
        raise click.UsageError("--contrasts is missing: where to write what --contrast and --against find.")
    if cell_list and group_key != "cellmemory_label":
        raise click.UsageError("--cell_list and --group_key exclude each other: groups are of the one or of the other.")
    from contextlib import ExitStack

    import pandas as pd

    from cellmemory.cells.groups import MIN_CELLS
    from cellmemory.columns import SLOT_TAG_COLUMNS
    from cellmemory.explanation import contrasts as contrasting
    from cellmemory.explanation import grouping, profiles, tags
    from cellmemory.io.atomic import replacing
    from cellmemory.io.tables import write_table
    from cellmemory.mapping.mapped import MappedFile

    with ExitStack() as files:
        file = files.enter_context(MappedFile(mapped_path))
        genes = file.genes
        codes, groups = grouping.listed_cells(file, cell_list) if cell_list else grouping.group_of_cells(file, group_key)
        of_what = str(cell_list) if cell_list else group_key
        _cli.say(f"Read {mapped_path}: {len(codes):,} cells x {len(genes):,} genes, grouped by {of_what}.")
        questions = _questions(file, contrasts, files.enter_context(MappedFile(against)) if against else None)

        mapper = _mapper(file, model, device, threads, seed) if model else None

        sums, cells = grouping.accumulate([file], codes, groups, budget=test_cells if permutations or mapper else 0, seed=seed)
        _say_groups(groups, sums.n_cells, int((codes < 0).sum()), of_what)
        tests = contributions = None
        if permutations:
            _say_tests(len(cells.codes), cells.of_cells, permutations)
            tests = tags.tests_of_groups(cells, len(groups), permutations, seed)
        if mapper:
            contributions = _contributions(cells, file, mapper, len(groups), seed)
        of_groups = tags.group_tags(sums, genes, top, tests=tests, contributions=contributions)

        slots, of_slots = None, pd.DataFrame(columns=SLOT_TAG_COLUMNS)
        if of_what == "cellmemory_label":
            slots = tags.read_slots(file)
            of_slots = tags.slot_tags(slots, sums, genes, top)
        else:
            _cli.say(f"No slot genes: slot attention is kept by predicted label, not by {of_what}.")

        answers = []
        for question in questions:
            own = (codes, groups) if cell_list else contrasting.groups_of(question, group_key)
            answers.append(
                contrasting.contrast_groups(
                    question, *own, budget=test_cells if permutations else 0, permutations=permutations, seed=seed
                )
            )
            _say_contrast(answers[-1], MIN_CELLS)
    written = [(tags_path, of_groups), (slots_path, of_slots)]
    if contrasts_path:
        written.append((contrasts_path, contrasting.table(answers, genes, top)))
    with ExitStack() as outputs:
        for path, table in written:
            write_table(table, outputs.enter_context(replacing(path)))
        if profiles_path:
            profiles.build(sums, slots, answers, genes, contributions=contributions).write_h5ad(
                outputs.enter_context(replacing(profiles_path))
            )
    for path, table in written:
        keys = [key for key in ("contrast", "group", "slot") if key in table]
        _cli.say(f"Wrote {path}: {len(table):,} rows for {table.groupby(keys).ngroups} rankings by {' and '.join(keys)}.")


def _mapper(file: "MappedFile", model: Path, device: str, threads: int, seed: int) -> "Mapper":
    """The model that mapped the file, ready to run."""
    from cellmemory.mapping.mapper import Mapper
    from cellmemory.network.runtime import configure
    from cellmemory.reference import trained_model

    trained = trained_model.load(model)
    file.check_model(trained)
    return Mapper(trained, configure(device, "fp32", threads, seed=seed))


def _contributions(cells: "CellSample", file: "MappedFile", mapper: "Mapper", n_groups: int, seed: int) -> "Contributions":
    """Contributions of genes, as means over at most CONTRIBUTION_CELLS cells of each group."""
    import numpy as np

    from cellmemory.explanation.attribution import mean_contributions
    from cellmemory.sampling import sample_each

    kept = np.zeros(len(cells.codes), bool)
    kept[sample_each(cells.codes, CONTRIBUTION_CELLS, seed)] = True
    _cli.say(f"Contributions are means over {kept.sum():,} cells, at most {CONTRIBUTION_CELLS} of each group.")
    return mean_contributions(cells.only(kept), file.var()["measured"].to_numpy(bool), mapper, n_groups)


def _questions(file: "MappedFile", contrasts: tuple[str, ...], against: "MappedFile | None") -> "list[Contrast]":
    """The contrasts that were asked for; all that is wrong with them at once."""
    from cellmemory.errors import Problems
    from cellmemory.explanation import contrasts as contrasting

    found, problems = [], Problems()
    for text in contrasts:
        with problems.collect():
            found.append(contrasting.by_column(file, text))
    if against:
        with problems.collect():
            found.append(contrasting.between_files(file, against))
    problems.raise_any()
    return found


def _say_groups(groups: list[str], n_cells: "np.ndarray", ungrouped: int, of_what: str) -> None:
    """Says which groups are empty, which have a single cell, and how many cells have no group."""
    empty = [group for group, cells in zip(groups, n_cells, strict=True) if cells == 0]
    single = [group for group, cells in zip(groups, n_cells, strict=True) if cells == 1]
    if empty:
        _cli.say(f"Skipped {len(empty)} groups without a cell: {', '.join(empty)}.")
    if single:
        _cli.warn(f"Read the genes of these groups with care, each is a single cell: {', '.join(single)}.")
    if ungrouped:
        _cli.say(f"Left out {ungrouped:,} cells that have no value in {of_what}.")


def _say_tests(tested: int, of_cells: int, permutations: int) -> None:
    part = "all" if tested == of_cells else f"{tested:,} of the"
    _cli.say(
        f"Tests are of {part} {of_cells:,} cells and {permutations:,} permutations: "
        f"the smallest p-value is {1 / (permutations + 1):.2g}."
    )


def _say_contrast(answer: "Contrasted", min_cells: int) -> None:
    """Says how many groups were contrasted, and which have too few cells on a side."""
    _cli.say(f"Contrasted {answer.name} within {len(answer.groups)} groups.")
    if answer.skipped:
        _cli.say(f"Left out for fewer than {min_cells} cells on a side: {', '.join(answer.skipped)}.")


if __name__ == "__main__":
    main()
