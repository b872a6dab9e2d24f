"""What a mapped file says of how it was made: `uns['cellmemory']`."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from cellmemory.io.provenance import provenance
from cellmemory.reference.calibration import DoubtSettings

STEP = "map_query"


@dataclass(frozen=True)
class RunInfo:
    """How a query, or a slice of one, was mapped; what its file does not say is an empty text, an empty list or None.

    model_digest: of the trained model, adapted since or not; adapted_to: the query that it was adapted to, adapting: what
    was found on trying. slot_groups: the labels that slot means are kept for, n_slots slots each; label_terms: their
    terms in an ontology, as the reference gave them, empty for none. weaker_evidence: of
    novelty.CommonShift, where it was looked at. values_digest: of the aligned cells' values. alarms, n_cells (how many were
    mapped) and reference_cells (how many of these are the reference's own) are known of a whole query only. alignment: what
    preprocessing said of the genes, as JSON.
    """

    sample: str
    model_digest: str
    slot_groups: list[str]
    n_slots: int
    novelty_alpha: float
    alpha: float
    min_confidence: float = DoubtSettings.min_confidence
    novelty_shift: bool = DoubtSettings.novelty_shift
    adapted_to: str = ""
    adapting: str = ""
    label_key: str = ""
    label_levels: list[str] | None = None
    label_terms: list[str] | None = None
    truth_key: str = ""
    batch_key: str = ""
    spatial_key: str = ""
    source: str = ""
    value_scale: str = ""
    values_digest: str = ""
    mode: str = ""
    binning: str = ""
    precision: str = ""
    seed: int | None = None
    weaker_evidence: float | None = None
    alarms: list[str] | None = None
    reference_cells: int | None = None
    n_cells: int | None = None
    alignment: str | None = None
    version: str | None = None

    @property
    def doubt(self) -> DoubtSettings:
        """What decided about doubt when the cells were mapped."""
        return DoubtSettings(self.novelty_alpha, self.alpha, self.min_confidence, self.novelty_shift)

    @property
    def mapping(self) -> str:
        """What tables that are made of all mapped cells call them: the query's values before the dot, model and doubt behind it;
        an empty text where the values have no digest. Of a part of them, see MappedFile.mapping."""
        if not self.values_digest:
            return ""
        decided = [self.model_digest, self.adapted_to, asdict(self.doubt)]
        return f"{self.values_digest[:8]}.{hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:6]}"

    @classmethod
    def from_uns(cls, stored: Mapping) -> "RunInfo":
        """Of what the file holds, which mapped_checks has held to kinds."""
        return cls(**{field.name: _plain(stored[field.name]) for field in fields(cls) if field.name in stored})

    def to_uns(self) -> dict:
        """As the file holds it; what is None is left out."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "version"}
        values = {name: np.array(v, object) if isinstance(v, list) else v for name, v in values.items() if v is not None}
        return provenance(step=STEP, **values)

    def same_model(self, other: "RunInfo") -> bool:
        """Whether the same trained model made both, adapted to whichever query: that leaves attention as it is."""
        return self.model_digest == other.model_digest

    def differences(self, other: "RunInfo") -> list[str]:
        """`alpha 0.1, not 0.05`, for each field that differs from the other's; `no mode, not fast` where this one lacks it."""
        pairs = {field.name: (getattr(self, field.name), getattr(other, field.name)) for field in fields(self)}
        lacks: tuple[object, ...] = ("", None, [])
        return [
            f"{f'no {name}' if here in lacks else f'{name} {here}'}, not {'none' if there in lacks else there}"
            for name, (here, there) in pairs.items()
            if here != there
        ]


def _plain(value: Any) -> Any:
    """Without numpy: h5ad gives arrays and numpy's numbers."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
