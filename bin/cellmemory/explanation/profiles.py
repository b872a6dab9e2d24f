"""Every gene of every ranking, as an h5ad that scanpy opens: what the TAG tables list the first genes of.

A row of the matrix is a ranking (obs: level, contrast, group, slot, n_cells, usage), a column a gene of the panel. X is
the score of the tables: mean attention of a group's cells, the write side of a slot, or the attention of side A of a
contrast. layers['ranking'] is what pre-ranked tests go by, signed: `effect` of groups and contrasts, `specificity` of
slots. layers['read'] is the read side of a slot, NaN in all other rows and where genes read nothing. Where the model was
at hand, layers['cls_contribution'] and ['linear_contribution'] are those of groups, NaN in all other rows.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cellmemory.cells.probe import survive
from cellmemory.columns import MAPPING
from cellmemory.errors import InputError
from cellmemory.explanation.contrasts import Contrasted
from cellmemory.explanation.grouping import GroupSums
from cellmemory.explanation.tags import Slots

if TYPE_CHECKING:
    import anndata as ad

    from cellmemory.explanation.attribution import Contributions

OBS_COLUMNS = ["level", "contrast", "group", "slot", "n_cells", "usage"]


def build(
    sums: GroupSums,
    slots: Slots | None,
    contrasted: Sequence[Contrasted],
    genes: list[str],
    *,
    contributions: "Contributions | None" = None,
) -> "ad.AnnData":
    """The rankings of groups, slots and contrasts as an AnnData (rankings x genes), groups without cells left out."""
    import anndata as ad

    rows, score, ranking, read = [], [], [], []

    def add(row: tuple, scores: np.ndarray, ranks: np.ndarray, reads: np.ndarray | None = None) -> None:
        rows.append(row)
        score.append(scores)
        ranking.append(ranks)
        read.append(np.full(len(genes), np.nan) if reads is None else reads)

    means, effect = sums.means(sums.attention), sums.effect()
    for g in np.flatnonzero(sums.n_cells).tolist():
        add(("label", "", sums.groups[g], "", sums.n_cells[g], np.nan), means[g], effect[g])
    if slots:
        specificity = slots.specificity
        for g in np.flatnonzero(sums.n_cells).tolist():
            label = slots.labels.index(sums.groups[g])
            for slot in range(slots.write.shape[1]):
                row = ("slot", "", sums.groups[g], str(slot + 1), sums.n_cells[g], slots.usage[label, slot])
                add(row, slots.write[label, slot], specificity[label, slot], slots.read[label, slot])
    for result in contrasted:
        means = result.sums.means(result.sums.attention)
        for g, group in enumerate(result.groups):
            add(("contrast", result.name, group, "", result.sums.n_cells[g], np.nan), means[g], result.effect[g])
    obs = pd.DataFrame(rows, columns=OBS_COLUMNS, index=[f"ranking{i}" for i in range(1, len(rows) + 1)])
    shape = (len(rows), len(genes))
    stacked = [np.array(part, np.float32).reshape(shape) for part in (score, ranking, read)]
    profiles = ad.AnnData(stacked[0], obs=obs, var=pd.DataFrame(index=genes))
    profiles.layers["ranking"], profiles.layers["read"] = stacked[1:]
    if contributions:
        for name, values in (("cls_contribution", contributions.cls), ("linear_contribution", contributions.linear)):
            layer = np.full(shape, np.nan, np.float32)
            layer[(obs["level"] == "label").to_numpy()] = values[sums.n_cells > 0]
            profiles.layers[name] = layer
    return profiles


def load(path: str | Path) -> "ad.AnnData":
    """Reads what `build` made and extract_tags.py wrote. Raises InputError for another file."""
    import anndata as ad

    try:
        survive(Path(path))
        profiles = ad.read_h5ad(path)
    except Exception:  # anndata raises anything from OSError to KeyError on a file of another kind
        raise InputError(f"{path} is not an h5ad file, or is damaged; give the .tag_profiles.h5ad of extract_tags.py.") from None
    missing = [column for column in OBS_COLUMNS if column not in profiles.obs]
    missing += [layer for layer in ("ranking", "read") if layer not in profiles.layers]
    missing += [] if isinstance(profiles.uns.get(MAPPING), str) else [MAPPING]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; give the .tag_profiles.h5ad of extract_tags.py.")
    layers = {"X": profiles.X, **profiles.layers}
    wrong = [name for name, values in layers.items() if not isinstance(values, np.ndarray) or values.dtype.kind != "f"]
    wrong = wrong or [name for name, values in layers.items() if np.isinf(values).any()]
    if wrong:
        raise InputError(
            f"{path}: {', '.join(wrong)} is not finite numbers. Give an untouched .tag_profiles.h5ad of extract_tags.py."
        )
    for column in ("level", "contrast", "group", "slot"):
        profiles.obs[column] = profiles.obs[column].astype(str)
    return profiles


def check_cells(profiles: "ad.AnnData", tags: pd.DataFrame, path: Path) -> None:
    """Raises InputError where the profiles in `path` are of other cells than a table of TAGs, by their numbers in each group."""
    if "n_cells" not in tags:
        return
    of_tags, of_labels = (
        pd.to_numeric(rows.drop_duplicates("group").set_index("group")["n_cells"], errors="coerce")
        for rows in (tags, profiles.obs[profiles.obs["level"] == "label"])
    )
    both = of_tags.index.intersection(of_labels.index)
    if other := [group for group in both if of_tags[group] != of_labels[group]]:
        raise InputError(
            f"{path} is of other cells than --tags: {other[0]} has {of_labels[other[0]]:,.0f} in it, and "
            f"{of_tags[other[0]]:,.0f} there. Give both of one run of extract_tags.py."
        )
