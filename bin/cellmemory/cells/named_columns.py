"""Columns of a user's obs: those that a samplesheet names, and those that mapping would write over."""

from cellmemory.cells.reading import CellFile
from cellmemory.columns import PREFIX
from cellmemory.errors import Problems, first_ids
from cellmemory.io.samplesheet import Origin


def column_problems(file: CellFile, origin: Origin) -> list[str]:
    """A sentence for each column that a samplesheet names and the file lacks, and for those that mapping would write."""
    problems = Problems()
    for key, role, option in (
        (origin.batch_key, "batch", "batch_key"),
        (origin.truth_key, "truth", "truth_key"),
    ):
        with problems.collect():
            if key:
                file.column(key, role, option)
    if origin.spatial_key and origin.spatial_key not in file.obsm:
        found = ", ".join(file.obsm) or "(none)"
        problems.append(
            f"{file.path}: the coordinates '{origin.spatial_key}' (--spatial_key) are not in obsm; there are: {found}."
        )
    return problems + taken_columns(file)


def taken_columns(file: CellFile) -> list[str]:
    """A sentence where obs has columns of the names that mapping writes."""
    taken = [name for name in file.columns if name.startswith(PREFIX)]
    sentence = f"{file.path}: obs has columns that mapping writes ({first_ids(taken)}). Rename or remove them first."
    return [sentence] if taken else []
