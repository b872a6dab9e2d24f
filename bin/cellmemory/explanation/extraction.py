"""Type-associated genes of a mapped query, from the file to the tables: of groups, of memory slots, and of contrasts."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cellmemory.cells.groups import MIN_CELLS
from cellmemory.columns import CANDIDATE, LABEL, MAPPING, SLOT_TAG_COLUMNS, TYPE
from cellmemory.errors import Problems
from cellmemory.explanation import contrasts, profiles, tags
from cellmemory.explanation.grouping import CellSample, GroupSums, accumulate, group_of_cells, listed_cells
from cellmemory.log import say, warn
from cellmemory.mapping.clustered import clusters_of
from cellmemory.mapping.mapped import MappedFile
from cellmemory.sampling import sample_each

if TYPE_CHECKING:  # their modules import torch, which is needed with a model only
    import anndata as ad

    from cellmemory.explanation.attribution import Contributions
    from cellmemory.mapping.mapper import Mapper

#: Cells of a group that are mapped again, at most: a mean of these is steady, and a large query takes no longer.
CONTRIBUTION_CELLS = 100


@dataclass(frozen=True)
class TagSettings:
    """How genes are ranked and tested.

    group_key: the obs column that groups the cells; cell_list: the user's list of cells instead. contrasts: COLUMN:A:B each;
    against: another mapped file whose cells are compared. top: genes to list per ranking (0: all). permutations: 0 for no
    tests; test_cells: cells that are tested, at most. clusters: cell_clusters.csv of the cells; labels then leave out those that
    may be of new types.
    """

    group_key: str = LABEL
    cell_list: Path | None = None
    contrasts: Sequence[str] = ()
    against: Path | None = None
    top: int = 100
    permutations: int = 1000
    test_cells: int = 10_000
    seed: int = 0
    clusters: Path | None = None

    @property
    def grouped_by(self) -> str:
        """What groups the cells, in words."""
        return str(self.cell_list) if self.cell_list else self.group_key


@dataclass(frozen=True)
class Extracted:
    """The tables of groups, slots and contrasts, and what the profiles are made of. mapping: see MappedFile."""

    tags: pd.DataFrame
    slot_tags: pd.DataFrame
    contrasts: pd.DataFrame
    mapping: str
    genes: list[str]
    sums: GroupSums
    slots: tags.Slots | None
    contrasted: list[contrasts.Contrasted]
    contributions: "Contributions | None"

    def profiles(self) -> "ad.AnnData":
        """Every gene of every ranking (see profiles.build)."""
        found = profiles.build(self.sums, self.slots, self.contrasted, self.genes, contributions=self.contributions)
        found.uns[MAPPING] = self.mapping
        return found


def extract(mapped: Path, settings: TagSettings, mapper: "Mapper | None" = None) -> Extracted:
    """Ranks the genes of a mapped query. mapper: of the model that mapped it, for what each gene contributes to the labels.

    Raises InputError for files that were not mapped, or by another model, and for columns, cells and contrasts that are not
    there.
    """
    top, seed = settings.top, settings.seed
    with ExitStack() as files:
        file = files.enter_context(MappedFile(mapped))
        if mapper:
            file.check_model(mapper.trained)
        codes, groups = _groups(file, settings)
        new = _of_new_types(file, settings)
        codes = np.where(new, -1, codes)
        say(f"Read {mapped}: {len(codes):,} cells x {len(file.genes):,} genes, grouped by {settings.grouped_by}.")
        questions = _questions(file, settings, files)
        budget = settings.test_cells if settings.permutations or mapper else 0
        sums, cells = accumulate([file], codes, groups, budget=budget, seed=seed)
        _say_groups(groups, sums.n_cells, int((codes < 0).sum()), settings.grouped_by)
        tests = contributions = None
        if settings.permutations and len(cells.codes):
            _say_tests(len(cells.codes), cells.of_cells, settings.permutations)
            tests = tags.tests_of_groups(cells, len(groups), settings.permutations, seed)
        if mapper and len(cells.codes):
            contributions = _contributions(cells, file, mapper, len(groups), seed=seed)
        of_groups = tags.group_tags(sums, file.genes, top, tests=tests, contributions=contributions)
        slots, of_slots = None, pd.DataFrame(columns=SLOT_TAG_COLUMNS)
        if settings.grouped_by != LABEL:
            say(f"No slot genes: slot attention is kept by predicted label, not by {settings.grouped_by}.")
        elif file.is_part:
            warn(
                f"No slot genes: slot attention is kept as means over the {file.run.n_cells:,} cells that were mapped, and this "
                f"file has {file.n_cells:,}. Map these cells again for their own."
            )
        else:
            slots = tags.read_slots(file)
            of_slots = tags.slot_tags(slots, sums, file.genes, top)
        answers = [_answer(question, settings, codes, groups, new=new) for question in questions]
        compared = contrasts.table(answers, file.genes, top)
        of_groups, of_slots, compared = (table.assign(**{MAPPING: file.mapping}) for table in (of_groups, of_slots, compared))
        return Extracted(
            of_groups,
            of_slots,
            compared,
            file.mapping,
            file.genes,
            sums,
            slots=slots,
            contrasted=answers,
            contributions=contributions,
        )


def _groups(file: MappedFile, settings: TagSettings) -> tuple[np.ndarray, list[str]]:
    return listed_cells(file, settings.cell_list) if settings.cell_list else group_of_cells(file, settings.group_key)


def _of_new_types(file: MappedFile, settings: TagSettings) -> np.ndarray:
    """Whether each cell (N,) is in a cluster that may be a new type; none is where cells are not grouped by their labels."""
    if not settings.clusters or settings.grouped_by != LABEL:
        return np.zeros(file.n_cells, bool)
    found = clusters_of(file, settings.clusters)[CANDIDATE] == TYPE
    if found.any():
        say(f"Left out {found.sum():,} cells of clusters that may be of types that the reference lacks.")
    return found.to_numpy()


def _questions(file: MappedFile, settings: TagSettings, files: ExitStack) -> list[contrasts.Contrast]:
    """The contrasts that were asked for. Raises InputError with all that is wrong with them."""
    found: list[contrasts.Contrast] = []
    problems = Problems()
    against = files.enter_context(MappedFile(settings.against)) if settings.against else None
    for text in settings.contrasts:
        with problems.collect():
            contrast = contrasts.by_column(file, text)
            if not any(contrast.name == other.name for other in found):  # given twice, it would double the rows of a table
                found.append(contrast)
    if against:
        with problems.collect():
            found.append(contrasts.between_files(file, against))
    problems.raise_any()
    return found


def _answer(
    question: contrasts.Contrast, settings: TagSettings, codes: np.ndarray, groups: list[str], *, new: np.ndarray
) -> contrasts.Contrasted:
    """A contrast within each group, and what is said of it. new: (N,) cells of the first file that are left out."""
    if not settings.cell_list:
        codes, groups = contrasts.groups_of(question, settings.group_key)
        codes[: len(new)][new] = -1
    permutations = settings.permutations
    budget = settings.test_cells if permutations else 0
    answer = contrasts.contrast_groups(question, codes, groups, budget=budget, permutations=permutations, seed=settings.seed)
    say(f"Contrasted {answer.name} within {len(answer.groups)} groups.")
    if len(question.files) > 1 and (absent := int((~question.measured).sum())):
        say(f"Left out {absent:,} genes of the panel that one of the two did not measure.")
    if answer.skipped:
        say(f"Left out for fewer than {MIN_CELLS} cells on a side: {', '.join(answer.skipped)}.")
    return answer


def _contributions(cells: CellSample, file: MappedFile, mapper: "Mapper", n_groups: int, *, seed: int) -> "Contributions":
    """Contributions of genes, as means over at most CONTRIBUTION_CELLS cells of each group."""
    from cellmemory.explanation.attribution import mean_contributions

    kept = np.zeros(len(cells.codes), bool)
    kept[sample_each(cells.codes, CONTRIBUTION_CELLS, seed)] = True
    say(f"Contributions are means over {kept.sum():,} cells, at most {CONTRIBUTION_CELLS} of each group.")
    return mean_contributions(cells.only(kept), file.var()["measured"].to_numpy(bool), mapper, n_groups)


def _say_groups(groups: list[str], n_cells: np.ndarray, ungrouped: int, of_what: str) -> None:
    """Says which groups are empty, which have a single cell, and how many cells have no group."""
    empty = [group for group, cells in zip(groups, n_cells, strict=True) if cells == 0]
    single = [group for group, cells in zip(groups, n_cells, strict=True) if cells == 1]
    if empty:
        say(f"Skipped {len(empty)} groups without a cell: {', '.join(empty)}.")
    if single:
        warn(f"Read the genes of these groups with care, each is a single cell: {', '.join(single)}.")
    if ungrouped:
        why = "are not assigned" if of_what == LABEL else f"have no value in {of_what}"
        say(f"Left out {ungrouped:,} cells that {why}.")


def _say_tests(tested: int, of_cells: int, permutations: int) -> None:
    part = "all" if tested == of_cells else f"{tested:,} of the"
    say(
        f"Tests take {part} {of_cells:,} cells and {permutations:,} permutations: "
        f"the smallest p-value is {1 / (permutations + 1):.2g}."
    )
