"""What genes write into and read from the memory slots, summed by predicted label while cells are mapped."""

from dataclasses import dataclass

import numpy as np

from cellmemory.columns import SLOT_READ, SLOT_WRITE
from cellmemory.exact import UNITS
from cellmemory.network.tokens import Tokens


@dataclass(frozen=True)
class SlotSums:
    """Sums by predicted label, whole numbers all of them.

    write, read: (G, H, M), in UNITS; read is None for the light variant, where genes read nothing. expressing: (G, M)
    cells that have the gene as a token; cells: (G,).
    """

    write: np.ndarray
    read: np.ndarray | None
    expressing: np.ndarray
    cells: np.ndarray

    @classmethod
    def zeros(cls, n_labels: int, n_slots: int, n_genes: int, *, read: bool) -> "SlotSums":
        """Of no cells yet. read: whether genes read from slots."""
        shape = (n_labels, n_slots, n_genes)
        write, expressing, cells = (np.zeros(size, np.int64) for size in (shape, (n_labels, n_genes), n_labels))
        return cls(write, np.zeros(shape, np.int64) if read else None, expressing, cells)

    def add(self, label: np.ndarray, tokens: Tokens, write: np.ndarray, read: np.ndarray | None) -> None:
        """Adds cells: label (n,); write and read (tokens, H), token by token in the order of `tokens`."""
        n_genes = self.expressing.shape[1]
        where = np.repeat(label, tokens.lengths) * n_genes + tokens.gene
        size = self.expressing.size
        for sums, values in ((self.write, write), *(((self.read, read),) if read is not None else ())):
            for slot in range(values.shape[1]):
                # Exact: the float64 sums of a block of cells stay far below 2**53.
                units = np.rint(values[:, slot] * UNITS)
                sums[:, slot] += np.bincount(where, units, size).reshape(-1, n_genes).astype(np.int64)
        self.expressing[:] += np.bincount(where, minlength=size).reshape(-1, n_genes)
        self.cells[:] += np.bincount(label, minlength=len(self.cells))

    def add_sums(self, other: "SlotSums") -> None:
        """Adds the sums of other cells."""
        for name, values in other.present().items():
            getattr(self, name)[:] += values

    def present(self) -> dict[str, np.ndarray]:
        """The sums by their names, without those that the variant lacks."""
        return {name: values for name, values in vars(self).items() if values is not None}

    def varm(self) -> dict[str, np.ndarray]:
        """(genes, G*H) means: write over the label's cells, read over those of them that have the gene as a token."""
        flat = {SLOT_WRITE: self.write / UNITS / np.maximum(self.cells, 1)[:, None, None]}
        if self.read is not None:
            flat[SLOT_READ] = self.read / UNITS / np.maximum(self.expressing, 1)[:, None, :]
        return {name: v.reshape(-1, v.shape[-1]).T.astype(np.float32) for name, v in flat.items()}
