"""The sizes of a network, and the shapes of all that a model folder's tensors hold: known without torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the shapes of the weights (paper A.2 for the defaults of the standard variant)."""

    n_genes: int
    n_labels: int
    variant: str = "standard"
    n_bins: int = 50
    d_model: int = 256
    d_feedforward: int = 512
    d_key: int = 32
    d_value: int = 64
    n_heads: int = 4
    n_slots: int = 8
    n_layers: int = 4
    dropout: float = 0.3


#: What each layer of a variant has beside its two directions of attention: normalisations, feed-forward networks.
LAYERS = {
    "light": (
        ("norm_slots", "norm_written", "norm_memory", "norm_cls", "norm_feedforward"),
        ("feedforward_slots", "feedforward"),
    ),
    "standard": (("norm_slots", "norm_written"), ("feedforward",)),
}


def network_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of the network, by its name in CellMemory's state."""
    genes, labels, bins, d = config.n_genes, config.n_labels, config.n_bins + 1, config.d_model
    shapes = {
        "gene.weight": (genes, d),
        "expression.weight": (bins, d),
        "level": (bins,),
        "cls": (d,),
        "slots": (config.n_slots, d),
        "norm.weight": (d,),
        "norm.bias": (d,),
        "head.weight": (labels, d),
        "head.bias": (labels,),
        "linear.weight": (2, genes, labels),
        "linear.bias": (labels,),
        "linear.mean": (2, genes),
        "linear.spread": (2, genes),
        "linear.share": (genes,),
    }
    layer = _layer_shapes(config)
    return shapes | {f"layers.{i}.{name}": shape for i in range(config.n_layers) for name, shape in layer.items()}


def _layer_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    d, hidden, keys, values = config.d_model, config.d_feedforward, *(config.n_heads * n for n in (config.d_key, config.d_value))
    attention = {"query": (d, keys), "key": (d, keys), "value": (d, values), "output": (values, d)}
    network = {"inner.weight": (hidden, d), "inner.bias": (hidden,), "outer.weight": (d, hidden), "outer.bias": (d,)}
    norms, feedforwards = LAYERS[config.variant]
    parts: dict[str, dict[str, tuple[int, ...]]] = {"write": {**attention}, "read": {**attention}}
    parts |= {name: {"weight": (d,), "bias": (d,)} for name in norms}
    parts |= {name: {**network} for name in feedforwards}
    return {f"{part}.{name}": shape for part, tensors in parts.items() for name, shape in tensors.items()}


def reference_shapes(config: ModelConfig, *, kept: int, components: int, near: int, states: int) -> dict[str, tuple[int, ...]]:
    """The shape of each `reference.*` tensor: of `kept` cells, `components` principal components (see
    novelty.Profiles), and `states` of labels."""
    genes, labels = config.n_genes, config.n_labels
    return {
        "reference.embedding": (kept, config.d_model),
        "reference.map": (kept, 2),
        "reference.label": (kept,),
        "reference.means": (2, labels, genes),
        "reference.components": (genes, components),
        "reference.scale": (near, near),
        "reference.weight": (components, labels),
        "reference.bias": (labels,),
        "reference.states": (states, genes),
        "reference.state_label": (states,),
        "reference.spread": (genes,),
    }
