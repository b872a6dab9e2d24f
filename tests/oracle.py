"""CellMemory as its equations say, one cell at a time, in float64: no batch, no padding, no folding, no shortcut.

What the fast network computes must equal this to 1e-5 (docs/model.md has the equations). Reads the weights of a
`cellmemory.network.model.CellMemory` by name and shares no code with it.
"""

import numpy as np
from scipy.special import erf


def softmax(scores: np.ndarray, axis: int) -> np.ndarray:
    shifted = np.exp(scores - scores.max(axis, keepdims=True))
    return shifted / shifted.sum(axis, keepdims=True)


class Oracle:
    """The network of `state` (names to arrays) with A heads."""

    def __init__(self, state: dict, n_layers: int, n_heads: int, d_key: int, d_value: int):
        self.weights = {name: np.asarray(value, np.float64) for name, value in state.items()}
        self.n_layers, self.n_heads, self.d_key, self.d_value = n_layers, n_heads, d_key, d_value

    def norm(self, rows: np.ndarray, name: str) -> np.ndarray:
        return self.unit(rows) * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    @staticmethod
    def unit(rows: np.ndarray) -> np.ndarray:
        centred = rows - rows.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)

    def linear(self, rows: np.ndarray, name: str) -> np.ndarray:
        return rows @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def attend(self, queries: np.ndarray, sources: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Cross-attention of `queries` (n, d) on `sources` (m, d): the update (n, d) and the weights (A, n, m)."""
        q, k, v = (rows @ self.weights[f"{name}.{part}"] for rows, part in
                   ((queries, "query"), (sources, "key"), (sources, "value")))  # fmt: skip
        weights, heads = [], []
        for h in range(self.n_heads):
            key, value = slice(h * self.d_key, (h + 1) * self.d_key), slice(h * self.d_value, (h + 1) * self.d_value)
            weights.append(softmax(q[:, key] @ k[:, key].T / np.sqrt(self.d_key), 1))
            heads.append(weights[-1] @ v[:, value])
        return np.concatenate(heads, 1) @ self.weights[f"{name}.output"], np.stack(weights)

    def feedforward(self, rows: np.ndarray, name: str) -> np.ndarray:
        hidden = self.linear(rows, f"{name}.inner")
        hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
        return self.linear(hidden, f"{name}.outer")

    def linear_path(
        self, gene: np.ndarray, bins: np.ndarray, sqrt_share: np.ndarray, measured: np.ndarray, n_bins: int
    ) -> np.ndarray:
        """Logits (C,) of the linear path: a gene that was not measured adds nothing."""
        w = self.weights
        logits = w["linear.bias"].copy()
        sqrt_share = sqrt_share * np.sqrt(w["linear.share"][measured].sum())
        for g in np.flatnonzero(measured):
            for view, value in enumerate((bins[gene == g].sum() / n_bins, sqrt_share[gene == g].sum())):
                scaled = (value - w["linear.mean"][view, g]) / w["linear.spread"][view, g]
                logits += np.clip(scaled, -10, 10) * w["linear.weight"][view, g]
        return logits

    def standard_layer(self, name: str, memory: np.ndarray, tokens: np.ndarray) -> tuple:
        """Memory, tokens, A_write (A, H, S) and A_read (A, S, H) of the paper's layer."""
        normed = self.unit(tokens)
        update, write = self.attend(self.norm(memory, f"{name}.norm_slots"), normed, f"{name}.write")
        memory = memory + update
        update, read = self.attend(normed, self.norm(memory, f"{name}.norm_written"), f"{name}.read")
        tokens = tokens + update
        return (
            memory,
            tokens + self.feedforward(self.unit(tokens), f"{name}.feedforward"),
            write,
            read,
        )

    def light_layer(self, name: str, memory: np.ndarray, tokens: np.ndarray) -> tuple:
        """As standard_layer; the genes' tokens stay as they are, and only the CLS row reads: A_read (A, 1, H)."""
        genes = self.unit(tokens[1:])
        cls = self.norm(tokens[:1], f"{name}.norm_cls")
        update, write = self.attend(self.norm(memory, f"{name}.norm_slots"), np.concatenate([cls, genes]), f"{name}.write")
        memory = memory + update
        memory = memory + self.feedforward(self.norm(memory, f"{name}.norm_written"), f"{name}.feedforward_slots")
        update, read = self.attend(cls, self.norm(memory, f"{name}.norm_memory"), f"{name}.read")
        row = tokens[:1] + update
        row = row + self.feedforward(self.norm(row, f"{name}.norm_feedforward"), f"{name}.feedforward")
        return memory, np.concatenate([row, tokens[1:]]), write, read

    def __call__(self, gene: np.ndarray, bins: np.ndarray, sqrt_share: np.ndarray, measured: np.ndarray, n_bins: int) -> dict:
        """Everything of one cell with T tokens: logits (C,), embedding (d,), memory (H, d), and attention as in the model."""
        w = self.weights
        tokens = w["gene.weight"][gene] * w["level"][bins][:, None] + w["expression.weight"][bins]
        tokens = np.concatenate([w["cls"][None], tokens])
        memory = w["slots"]
        layer = self.light_layer if "layers.0.norm_cls.weight" in w else self.standard_layer
        maps = []
        for number in range(self.n_layers):
            memory, tokens, write, read = layer(f"layers.{number}", memory, tokens)
            z = np.stack([read[h] @ write[h] for h in range(self.n_heads)]).mean(0)
            maps.append((z[0, 1:], read.mean(0)[0], write.mean(0)[:, 1:], read.mean(0)[1:]))
        embedding = self.norm(tokens[0], "norm")
        cls, slots, written, reading = (np.mean(part, 0) for part in zip(*maps, strict=True))
        cls_logits = self.linear(embedding, "head")
        logits = cls_logits + self.linear_path(gene, bins, sqrt_share, measured, n_bins)
        return {"logits": logits, "cls_logits": cls_logits, "embedding": embedding, "memory": memory,
                "cls": cls, "slots": slots, "write": written, "read": reading}  # fmt: skip
