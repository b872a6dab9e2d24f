"""Maps a query onto a trained reference: streamed from disk in chunks of cells, written as it goes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from scipy.special import softmax

from cellmemory.align import provenance
from cellmemory.batches import as_tensors, token_batches
from cellmemory.bundle import Bundle
from cellmemory.calibration import Novelty, conformal_threshold, label_sets
from cellmemory.device import Runtime
from cellmemory.errors import InputError, first_ids
from cellmemory.files import replacing
from cellmemory.layers import ModelConfig
from cellmemory.reading import CellFile
from cellmemory.tokens import Tokens, tokenize
from cellmemory.writing import H5adWriter, plain

PREFIX = "cellmemory_"


@dataclass(frozen=True)
class Thresholds:
    """novelty_alpha: below this novelty p-value a cell is unassigned. alpha: label sets miss the truth at most so often."""

    novelty_alpha: float = 0.05
    alpha: float = 0.1


@dataclass
class SlotMeans:
    """Sums, by predicted label, of what genes write into and read from the slots: (G, H, M) and expressing cells (G, M).

    read is None for the light variant, where genes read nothing.
    """

    write: np.ndarray
    read: np.ndarray | None
    expressing: np.ndarray
    cells: np.ndarray

    @classmethod
    def zeros(cls, config: ModelConfig) -> "SlotMeans":
        shape = (config.n_labels, config.n_slots, config.n_genes)
        read = np.zeros(shape) if config.variant == "standard" else None
        return cls(np.zeros(shape), read, np.zeros((shape[0], shape[2])), np.zeros(shape[0]))

    def add(self, label: np.ndarray, tokens: Tokens, write: np.ndarray, read: np.ndarray | None) -> None:
        """Adds cells: label (n,); write and read (tokens, H), token by token in the order of `tokens`."""
        n_genes = self.expressing.shape[1]
        where = np.repeat(label, tokens.lengths) * n_genes + tokens.gene
        size = self.expressing.size
        sides = [(self.write, write)] + ([(self.read, read)] if read is not None else [])
        for sums, values in sides:
            for slot in range(values.shape[1]):
                sums[:, slot] += np.bincount(where, values[:, slot], size).reshape(-1, n_genes)
        self.expressing += np.bincount(where, minlength=size).reshape(-1, n_genes)
        self.cells += np.bincount(label, minlength=len(self.cells))

    def varm(self) -> dict[str, np.ndarray]:
        """(genes, G*H) means: write over the label's cells, read over those of them that have the gene as a token."""
        flat = {"cellmemory_slot_write": self.write / np.maximum(self.cells, 1)[:, None, None]}
        if self.read is not None:
            flat["cellmemory_slot_read"] = self.read / np.maximum(self.expressing, 1)[:, None, :]
        return {name: v.reshape(-1, v.shape[-1]).T.astype(np.float32) for name, v in flat.items()}


@dataclass(frozen=True)
class Mapped:
    """The model's results on the cells of one chunk, in their order; attention parts token by token, or None."""

    logits: np.ndarray
    cls_logits: np.ndarray
    embedding: np.ndarray
    slots: np.ndarray | None
    cls: np.ndarray | None
    write: np.ndarray | None
    read: np.ndarray | None


class Mapper:
    """A trained reference that is ready to map: network, calibration and novelty."""

    def __init__(self, bundle: Bundle, runtime: Runtime):
        self.bundle, self.runtime = bundle, runtime
        self.network = bundle.model(runtime.device)
        self.config = bundle.config
        self.novelty = Novelty(bundle.reference[0], np.array(bundle.calibration["novelty_null"]))

    def tokenize(self, rows: sp.csr_matrix, measured: np.ndarray) -> Tokens:
        """The tokens of aligned cells as the model was trained on them."""
        return tokenize(rows, measured, self.config["mode"], self.config["binning"], self.config["model"]["n_bins"])

    def run(self, tokens: Tokens, attention: bool) -> Mapped:
        """The network on all cells of `tokens`, in batches of cells alike in length; results in the cells' order."""
        n, config = len(tokens), self.network.config
        logits = np.empty((n, config.n_labels), np.float32)
        cls_logits = np.empty_like(logits)
        embedding = np.empty((n, config.d_model), np.float32)
        slots = np.empty((n, config.n_slots), np.float32) if attention else None
        cls = np.empty(len(tokens.gene), np.float32) if attention else None
        shape = (len(tokens.gene), config.n_slots)
        write = np.empty(shape, np.float32) if attention else None
        read = np.empty(shape, np.float32) if attention and config.variant == "standard" else None
        with torch.inference_mode(), self.runtime.autocast():
            for cells in token_batches(tokens):
                inputs = [t.to(self.runtime.device) for t in as_tensors(tokens, cells)]
                output = self.network.decide(*inputs, attention)
                logits[cells], embedding[cells] = output.logits.float().cpu(), output.embedding.float().cpu()
                cls_logits[cells] = output.cls_logits.float().cpu()
                if attention:
                    found, valid = output.attention, inputs[3]
                    slots[cells] = found.slots.float().cpu()
                    source = tokens.positions(cells)
                    cls[source] = found.cls[valid].float().cpu()
                    write[source] = found.write.mT[valid].float().cpu()
                    if read is not None:
                        read[source] = found.read[valid].float().cpu()
        return Mapped(logits, cls_logits, embedding, slots, cls, write, read)

    def table(self, mapped: Mapped, empty: np.ndarray, thresholds: Thresholds) -> pd.DataFrame:
        """The `cellmemory_` columns of obs for the cells of a chunk. empty: cells without tokens, never assigned."""
        labels, calibration = self.bundle.labels, self.bundle.calibration
        probabilities = softmax(mapped.logits.astype(np.float64) / calibration["temperature"], 1)
        best = probabilities.argmax(1)
        distance, p = self.novelty(mapped.embedding)
        assigned = (p >= thresholds.novelty_alpha) & ~empty
        threshold = conformal_threshold(np.array(calibration["conformal_scores"]), thresholds.alpha)
        columns = {
            "label": pd.Categorical.from_codes(best, labels),
            "confidence": probabilities.max(1),
            "status": pd.Categorical.from_codes(assigned.astype(int), ["unassigned", "assigned"]),
            "novelty": distance,
            "novelty_p": p,
            "label_set": label_sets(probabilities, labels, threshold),
            "linear_share": linear_share(mapped.logits, mapped.cls_logits),
        }
        return pd.DataFrame({PREFIX + name: values for name, values in columns.items()})


def linear_share(logits: np.ndarray, cls_logits: np.ndarray) -> np.ndarray:
    """How much of each cell's decision (n,) the linear path made, 0 to 1, the rest being the CLS token's.

    A part's say is how far it puts the chosen label above the mean of all labels, or below.
    """
    rows, best = np.arange(len(logits)), logits.argmax(1)
    linear, cls = (np.abs((part - part.mean(1, keepdims=True))[rows, best]) for part in (logits - cls_logits, cls_logits))
    return linear / np.maximum(linear + cls, 1e-12)


def open_aligned(path: Path, bundle: Bundle) -> CellFile:
    """The aligned query. Raises InputError unless its genes are the model's panel, in order."""
    file = CellFile(path)
    genes = file.var().index.astype(str).tolist()
    panel = bundle.panel["gene"].tolist()
    if genes != panel or "measured" not in file.var():
        raise InputError(
            f"{path}: the genes are not those of the model's panel ({bundle.path / 'panel.tsv'}): found {first_ids(genes)}, "
            f"expected {first_ids(panel)}. Align the query first: preprocess_query.py --panel {bundle.path / 'panel.tsv'}."
        )
    taken = [c for c in file.obs.columns if str(c).startswith(PREFIX)]
    if taken:
        raise InputError(f"{path}: obs has columns that this step writes ({', '.join(taken)}); rename or remove them first.")
    return file


def map_query(
    query: Path, bundle: Bundle, output: Path, labels: Path, thresholds: Thresholds, attention: bool, runtime: Runtime
) -> list[str]:
    """Writes `<sample>.mapped.h5ad` and `<sample>.labels.csv`; returns the lines of the log.

    Memory: a chunk of cells with its attention, and per cell the embedding and the columns of obs.
    """
    mapper = Mapper(bundle, runtime)
    with open_aligned(query, bundle) as file, replacing(output) as partial, replacing(labels) as partial_labels:
        with H5adWriter(partial, len(bundle.panel)) as writer:
            obs = _stream(file, mapper, writer, thresholds, attention)
            _finish(file, mapper, writer, obs, thresholds)
        table = plain(obs[[c for c in obs if c.startswith(PREFIX)]])
        table.rename_axis("cell").to_csv(partial_labels, float_format="%.6g")
    status = obs[PREFIX + "status"]
    return [
        f"mapped {len(obs):,} cells onto {len(bundle.labels)} labels ({runtime}); "
        f"{(status == 'unassigned').sum():,} unassigned (novelty p < {thresholds.novelty_alpha:g})",
        f"wrote {output} and {labels}",
    ]


def _stream(file: CellFile, mapper: Mapper, writer: H5adWriter, thresholds: Thresholds, attention: bool) -> pd.DataFrame:
    """Maps and writes all chunks; returns obs with the new columns."""
    measured = file.var()["measured"].to_numpy(bool)
    config = mapper.network.config
    means = SlotMeans.zeros(config)
    tables, embeddings, slots = [], [], []
    for start, rows in mapper.runtime.progress(file.chunks("X"), file.n_cells, "mapping"):
        tokens = mapper.tokenize(rows, measured)
        mapped = mapper.run(tokens, attention)
        table = mapper.table(mapped, np.diff(rows.indptr) == 0, thresholds)
        table.index = file.obs.index[start : start + len(table)]
        tables.append(table)
        embeddings.append(mapped.embedding)
        writer.append("X", rows)
        if attention:
            slots.append(mapped.slots)
            weights = sp.csr_matrix((mapped.cls, tokens.gene, tokens.start), shape=rows.shape)
            writer.append("layers/attention", weights)
            means.add(table[PREFIX + "label"].cat.codes.to_numpy().astype(np.int64), tokens, mapped.write, mapped.read)
    writer.write("obsm/X_cellmemory", np.concatenate(embeddings))
    if attention:
        writer.write("obsm/X_cellmemory_slots", np.concatenate(slots))
        for name, values in means.varm().items():
            writer.write(f"varm/{name}", values)
    return pd.concat([file.obs, pd.concat(tables)], axis=1)


def _finish(file: CellFile, mapper: Mapper, writer: H5adWriter, obs: pd.DataFrame, thresholds: Thresholds) -> None:
    """Writes what is made of all cells: obs, var, co-embedding, provenance."""
    from anndata.io import read_elem

    from cellmemory.umap import co_embed

    bundle, config = mapper.bundle, mapper.config
    embedding = writer.read("obsm/X_cellmemory")
    reference, label = bundle.reference
    query_map, reference_map = co_embed(embedding, reference, config["seed"])
    writer.write("obs", obs)
    writer.write("var", file.var())
    writer.write("obsm/X_umap", query_map)
    for key in file.obsm:
        writer.write(f"obsm/{key}", file.embedding(key))
    aligned = read_elem(file.uns["cellmemory"]) if "cellmemory" in file.uns else {}
    keep = {k: str(aligned.get(k, "")) for k in ("sample", "truth_key", "batch_key", "spatial_key", "source", "value_scale")}
    made = provenance(
        step="map_query",
        **(keep | {"sample": keep["sample"] or file.path.name.split(".")[0]}),
        model_digest=config["digest"],
        label_key=config["label_key"],
        slot_groups=np.array(bundle.labels, object),
        n_slots=config["model"]["n_slots"],
        novelty_alpha=thresholds.novelty_alpha,
        alpha=thresholds.alpha,
        mode=config["mode"],
        binning=config["binning"],
        precision=mapper.runtime.precision,
        seed=config["seed"],
    )
    writer.write("uns/cellmemory", made)
    names = np.array(bundle.labels, object)[label]
    writer.write("uns/cellmemory_reference", {"X_umap": reference_map, "label": names})
