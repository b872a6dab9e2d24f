"""The settings of a training: columns of the reference, size of the network, schedule, sampling, devices."""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from cellmemory.errors import InputError
from cellmemory.network.config import ModelConfig
from cellmemory.network.runtime import Runtime

WIDTHS = {"light": 128, "standard": 256}
MINIMUM_LEARNING_RATE = 0.01  # of the highest: where the cosine ends


@dataclass(frozen=True)
class ModelSize:
    """Variant, width and depth of the network; what follows from them keeps the paper's proportions.

    d_model: None for the variant's own, 256 for the paper's standard and 128 for the light one.
    """

    variant: str = "light"
    d_model: int | None = None
    n_layers: int = 4

    def config(self, n_genes: int, n_labels: int) -> ModelConfig:
        """Raises InputError for a width that four heads cannot share."""
        width = self.d_model or WIDTHS[self.variant]
        if width % 4:
            raise InputError(f"--d_model {width} is not a multiple of 4, the number of heads; give a multiple.")
        return ModelConfig(
            n_genes,
            n_labels,
            self.variant,
            d_model=width,
            d_feedforward=2 * width,
            d_value=width // 4,
            n_layers=self.n_layers,
        )


@dataclass(frozen=True)
class Sampling:
    """How cells and tokens are drawn in training.

    sampling: `balanced` draws every label as often as every other (see warm_start.balance), `natural` every cell.
    tokens_per_cell: tokens of a cell a step, a random subset where it has more (0: all). panel_dropout: up to this share of the
    panel is left out of a step, so that the model learns to do without genes that a query did not measure.
    """

    batch_size: int = 32
    tokens_per_cell: int = 128
    panel_dropout: float = 0.5
    sampling: str = "balanced"


@dataclass(frozen=True)
class Schedule:
    """Optimisation: Adam with a warm-up and a cosine that ends at the last of max_epochs; stops after `patience` epochs
    without a lower validation loss."""

    max_epochs: int = 20
    patience: int = 5
    learning_rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    gradient_clip: float = 1.0
    average_decay: float = 0.92

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0, of all `steps`: the last one's is a hundredth of the highest."""
        warmup = max(1, round(self.warmup * steps))
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, steps - 1 - warmup))
        return self.learning_rate * (MINIMUM_LEARNING_RATE + (1 - MINIMUM_LEARNING_RATE) * (1 + np.cos(np.pi * done)) / 2)


@dataclass(frozen=True)
class TrainingSettings:
    """All that decides what a training makes of a reference.

    label_key, batch_key, label_levels: columns of its obs; the levels are coarse to fine, and the last is label_key. mode,
    binning: how cells become tokens (see tokens.tokenize).
    """

    label_key: str
    batch_key: str | None = None
    label_levels: tuple[str, ...] = ()
    mode: str = "fast"
    binning: str = "quantile"
    seed: int = 0
    size: ModelSize = ModelSize()
    schedule: Schedule = Schedule()
    sampling: Sampling = Sampling()

    def to_json(self, config: ModelConfig) -> dict:
        """What config.json says of them; config: the network that `size` makes for the reference."""
        return {
            "label_key": self.label_key,
            "batch_key": self.batch_key,
            "label_levels": list(self.label_levels),
            "mode": self.mode,
            "binning": self.binning,
            "seed": self.seed,
            "model": asdict(config),
            "training": asdict(self.schedule) | asdict(self.sampling),
        }


@dataclass(frozen=True)
class Devices:
    """How many devices (GPUs, or processes on a CPU) share each batch, and lightning's strategy: `auto` or `ddp`."""

    count: int = 1
    strategy: str = "auto"

    def check(self, runtime: Runtime, sampling: Sampling) -> None:
        """Raises InputError for more GPUs than there are, and for batches that cannot be shared equally."""
        if runtime.device == "cuda" and self.count > torch.cuda.device_count():
            raise InputError(f"--devices {self.count} was asked for, but torch finds {torch.cuda.device_count()} GPUs here.")
        if sampling.batch_size % self.count:
            raise InputError(
                f"--batch_size {sampling.batch_size} cannot be shared equally by --devices {self.count}; give a multiple of it."
            )

    @property
    def rank(self) -> int:
        """The number of this process among those that train together: lightning starts the others with theirs."""
        return LightningEnvironment().local_rank() if self.count > 1 else 0
