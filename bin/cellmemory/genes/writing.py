"""How cells that were brought onto a panel are written."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cellmemory import RUN
from cellmemory.cells.reading import CellFile
from cellmemory.cells.writing import H5adWriter
from cellmemory.genes.align import Aligner
from cellmemory.genes.quality import QUALITY, Quality
from cellmemory.genes.values import checked
from cellmemory.io.atomic import replacing


def write_aligned(
    file: CellFile,
    matrix: str,
    aligner: Aligner,
    output: Path,
    *,
    elements: Mapping[str, object],
    kept: np.ndarray | None = None,
    quality: Quality | None = None,
) -> int:
    """Writes the aligned cells (all, or those `kept`) with obs and other elements, and their quality where it is measured;
    returns how many have no counts.

    `uns['cellmemory']['values_digest']` distinguishes these values from others of cells with the same names.
    """
    empty, digest = 0, hashlib.sha256()
    with replacing(output) as partial, H5adWriter(partial, aligner.selector.shape[1]) as writer:
        for start, rows in file.chunks(matrix):
            rows = checked(rows, file, matrix, range(start, start + rows.shape[0]), scale=aligner.scale)
            aligned, without = aligner(rows)
            here = slice(None) if kept is None else kept[start : start + rows.shape[0]]
            written = aligned[here]
            writer.append("X", written)
            if quality:
                writer.append(f"obsm/{QUALITY}", quality(rows)[here])
            for part in (np.diff(written.indptr), written.indices, written.data):
                digest.update(np.ascontiguousarray(part, part.dtype.newbyteorder("<")).data)
            empty += int(without[here].sum())
        writer.write("obs", file.obs if kept is None else file.obs[kept])
        for name, value in elements.items():
            writer.write(name, value)
        writer.write(f"uns/{RUN}/values_digest", digest.hexdigest()[:16])
    return empty
