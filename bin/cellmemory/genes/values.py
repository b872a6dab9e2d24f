"""Which matrix of a file to read, and whether all its values are of one scale (see `scales`)."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import scipy.sparse as sp

from cellmemory.cells.reading import CellFile
from cellmemory.errors import InputError
from cellmemory.genes.scales import (
    BROKEN,
    FEWEST_VALUES,
    LARGEST,
    LOG_BASES,
    NORMALISED,
    OTHER_SCALE,
    WHOLE,
    Scale,
    is_shown,
    number_in_each,
    scale_of,
    shown_scales,
)

SAMPLE_BLOCKS, SAMPLE_CELLS = 5, 200
#: A sample with fewer cells that hold any value says little: most barcodes of a raw matrix are empty.
FEWEST_SAMPLED = 100
TARGET_SUM = 1e4
#: No value lies above it before its logarithm was taken.
LARGEST_BEFORE_LOG = 1e8
#: Every such cell of those that are read is asked how it was normalised.
ASKED = 8


def value_scale(file: CellFile, matrix: str) -> Scale:
    """The scale of a matrix, or what makes it unusable: see scales.scale_of.

    Judged from up to 1,000 cells with values, spread over the file. What lies outside of them is held against the scale when
    it is read: see `checked`.
    """
    return scale_of(_sampled(file, matrix))


def _sampled(file: CellFile, matrix: str) -> sp.csr_matrix:
    """Cells with values, in blocks spread over the file; where these hold few, the first ones of the whole file."""
    last = max(file.n_cells - SAMPLE_CELLS, 0)
    starts = np.unique(np.linspace(0, last, SAMPLE_BLOCKS).astype(int))
    blocks = [_with_values(file.rows(matrix, s, min(s + SAMPLE_CELLS, file.n_cells))) for s in starts]
    if sum(block.shape[0] for block in blocks) < min(FEWEST_SAMPLED, file.n_cells):
        blocks = []
        for _, rows in file.chunks(matrix):
            blocks.append(_with_values(rows))
            if sum(block.shape[0] for block in blocks) >= SAMPLE_BLOCKS * SAMPLE_CELLS:
                break
    return sp.vstack(blocks, format="csr")


def _with_values(rows: sp.csr_matrix) -> sp.csr_matrix:
    """The rows that hold a value other than zero."""
    rows.eliminate_zeros()
    return rows[np.diff(rows.indptr) > 0]


def checked(
    rows: sp.csr_matrix, file: CellFile, matrix: str, numbers: Sequence[int] | np.ndarray, *, scale: str
) -> sp.csr_matrix:
    """The rows as they are, which are the cells `numbers` (n,) of a matrix whose values have that scale.

    Raises InputError, with the first cell and gene, for values that are NaN, infinite, negative, or far too large, and for cells
    of another scale (see `_one_scale`).
    """
    wrong = ~((rows.data >= 0) & (rows.data <= _limit(scale)))  # NaN is neither
    if not wrong.any():
        return _one_scale(rows, file, matrix, numbers, scale=scale)
    place = int(np.argmax(wrong))
    row = int(numbers[int(np.searchsorted(rows.indptr, place, side="right")) - 1])
    gene = file.var(matrix).index[rows.indices[place]]
    (name,) = file.names(row, row + 1)
    raise InputError(
        f"{file.path}: {matrix} holds {rows.data[place]:g} in cell '{name}' (row {row + 1:,}), gene '{gene}'; "
        f"{np.count_nonzero(wrong):,} values of {rows.shape[0]:,} cells there are NaN, infinite, negative, or too large for "
        f"{_SCALE_NAMES[scale]}, which the matrix was taken for. Correct or remove them, or name another matrix "
        "(--counts_layer)."
    )


def _one_scale(
    rows: sp.csr_matrix, file: CellFile, matrix: str, numbers: Sequence[int] | np.ndarray, *, scale: str
) -> sp.csr_matrix:
    """The rows as they are; raises InputError where more than a few cells hold values of another scale: other values among
    counts, counts among logarithms, or values that were normalised in another way."""
    others, seen, words = _others(rows, scale)
    if others is None and scale in NORMALISED:
        others, seen, words = _normalised_in_another_way(rows, scale)
    if others is None:
        return rows
    row = int(numbers[int(np.argmax(others))])
    (name,) = file.names(row, row + 1)
    raise InputError(
        f"{file.path}: {matrix} holds {_SCALE_NAMES[scale]}, but {np.count_nonzero(others):,} of {seen:,} cells from '{name}' "
        f"(row {row + 1:,}) on hold {words}. Give a matrix of one scale, or another by --counts_layer."
    )


#: Which cells (n,) are of another scale, None where these are few; how many cells were looked at; what the others hold.
_Others: TypeAlias = tuple[np.ndarray | None, int, str]


def _others(rows: sp.csr_matrix, scale: str) -> _Others:
    """The cells that are not of counts, or that are, unlike the others, of counts."""
    lengths = np.diff(rows.indptr)
    fractions = number_in_each(rows, rows.data != np.round(rows.data))
    others, words = np.zeros(len(lengths), bool), ""
    if scale == "counts":
        others, words = fractions > (1 - BROKEN) * lengths, "values that are not whole"
    elif scale in LOG_BASES:  # of logarithms hardly one is whole
        others = (lengths >= FEWEST_VALUES) & (fractions <= (1 - WHOLE) * lengths)
        words = "only whole numbers, as counts are"
    return (others if others.sum() > OTHER_SCALE * len(lengths) else None), len(lengths), words


def _normalised_in_another_way(rows: sp.csr_matrix, scale: str) -> _Others:
    """Of every ASKED-th cell, those that were normalised in another way."""
    cells = rows[::ASKED]
    cells.eliminate_zeros()
    asked = np.flatnonzero(np.diff(cells.indptr))
    shown = shown_scales(cells[asked])
    wrong = (shown >= 0) & (shown != NORMALISED.index(scale))
    others = np.zeros(rows.shape[0], bool)
    others[::ASKED][asked] = wrong
    return (others if is_shown(shown, wrong) else None), len(asked), "values that were normalised in another way"


def _limit(scale: str) -> float:
    return float(np.log1p(LARGEST_BEFORE_LOG) / np.log(LOG_BASES[scale])) if scale in LOG_BASES else LARGEST


_SCALE_NAMES = {
    "counts": "counts",
    "linear": "normalised values",
    "binary": "binarised values",
    "log1p": "log-normalised values",
    "log2": "log-normalised values",
}


class Values(NamedTuple):
    """The matrix of a file to read, and its scale. doubt: a sentence where the scale is only the likeliest, else empty."""

    matrix: str
    scale: str
    doubt: str = ""

    def warnings(self, where: str) -> list[str]:
        """The doubt with its file in front, if there is any."""
        return [f"{where}: {self.doubt}"] if self.doubt else []


def find_values(file: CellFile, counts_layer: str | None) -> Values:
    """What to read: the matrix asked for, else counts in X, layers['counts'] or raw, else log values.

    counts_layer: a layer's name, or `X` or `raw`. Raises InputError where nothing usable is found.
    """
    names = ("X", "layers/counts", "raw") if not counts_layer else (_asked_for(file, counts_layer),)
    scales = {name: value_scale(file, name) for name in names if name in file.matrices}
    for wanted in (("counts",), tuple(LOG_BASES), ("linear",), ("binary",)):
        for name, scale in scales.items():
            if scale.name in wanted:
                return Values(name, scale.name, _doubt(name, scale))
    raise InputError(_refusal(file, {name: scale.name for name, scale in scales.items()}))


def _asked_for(file: CellFile, counts_layer: str) -> str:
    name = counts_layer if counts_layer in ("X", "raw") else f"layers/{counts_layer.removeprefix('layers/')}"
    if name not in file.matrices:
        layers = ", ".join(m.removeprefix("layers/") for m in file.matrices)
        raise InputError(f"{file.path}: there is no layer '{counts_layer}' (--counts_layer); there are: {layers or '(none)'}.")
    return name


def _doubt(name: str, scale: Scale) -> str:
    taken = {"log1p": "natural logarithms", "log2": "logarithms to the base 2", "linear": "values without a logarithm"}
    if not scale.guessed:
        return ""
    return (
        f"The scale of {name} is uncertain: neither ratios within cells nor sums of cells show it. Judged by size, its values "
        f"are read as {taken[scale.name]}. Give raw counts to be sure (--counts_layer)."
    )


_UNUSABLE = {
    "scaled": "holds negative values (scaled data)",
    "invalid": "holds NaN, infinite or impossibly large values",
    "mixed": "holds counts in some cells and other values in others (data sets of two scales in one file)",
    "unlike": "holds values that were normalised in different ways (logarithms of one base, of another, or none)",
    "empty": "holds no value but zero",
}


def _refusal(file: CellFile, scales: dict[str, str]) -> str:
    found = "; ".join(f"{name} {_UNUSABLE[scale]}" for name, scale in scales.items()) or "there is no X, layers['counts'] or raw"
    others = [name.removeprefix("layers/") for name in file.matrices if name not in scales]
    if others:
        found += f"; there are the layers {', '.join(others)}"
    return (
        f"{file.path}: {found}. Give raw counts, or log-normalised values, in X, layers['counts'] or raw (or name one with "
        "--counts_layer)."
    )
