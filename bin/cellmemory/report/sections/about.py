"""Versions, parameters and checksums."""

from collections.abc import Sequence

from cellmemory.reference.trained_model import TrainedModel
from cellmemory.report import wording
from cellmemory.report.blocks import Facts, Notes, Section
from cellmemory.report.data import Sample


def section(samples: Sequence[Sample], trained: TrainedModel, provenance: dict | None, absent: list[str]) -> Section:
    """Versions, parameters and checksums: what is needed to make the same page again.

    absent: why other sections are not there.
    """
    lead = "What made these results. The same inputs, versions and seed give the same results again."
    mapping = []
    for key, title in (
        ("version", "nf-cellmemory"),
        ("mode", "Tokens"),
        ("binning", "Binning"),
        ("precision", "Precision"),
        ("seed", "Seed"),
        ("novelty_alpha", "Novelty alpha"),
        ("novelty_shift", "Common shift taken out"),
        ("alpha", "Label set alpha"),
        ("adapted_to", "Adapted to"),
        ("adapting", "Adapting"),
    ):
        values = dict.fromkeys(wording.shown(value) for s in samples if (value := getattr(s.run, key)) not in ("", None))
        if values:
            mapping.append((title, ", ".join(values)))
    blocks: list = [Facts("Mapping", mapping)]
    for key, title in (("model", "Model"), ("training", "Training")):
        if trained.config.get(key):
            blocks.append(Facts(title, _flat(trained.config[key])))
    groups = {name: value for name, value in (provenance or {}).items() if isinstance(value, dict) and name != "links"}
    single = {name: value for name, value in (provenance or {}).items() if not isinstance(value, dict)}
    blocks += [Facts("Run", _flat(single))] if single else []
    blocks += [Facts(name.capitalize(), _flat(group)) for name, group in groups.items()]
    blocks.append(
        Facts("Checksums (SHA-256)", [*trained.config.get("files", {}).items(), ("model", trained.config.get("digest", ""))])
    )
    missing = [Notes(absent, "Not in this page")] if absent else []
    return Section("about", "Provenance", lead, [*missing, *blocks], advanced=True)


def _flat(value: dict, prefix: str = "") -> list[tuple[str, str]]:
    items = []
    for key, item in value.items():
        items += _flat(item, f"{prefix}{key}.") if isinstance(item, dict) else [(f"{prefix}{key}", wording.shown(item))]
    return items
