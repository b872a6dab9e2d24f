"""The model card: what a model was trained on, for people."""

import pandas as pd

from cellmemory.reference.alarms import unlearned


def model_card(settings: dict, table: pd.DataFrame, calibration: dict) -> str:
    """model_card.md: what the model was trained on, how well it does on held-out cells, and what to mind."""
    rows = "\n".join(
        f"| {_cell(r.label)} | {r.n_cells} | {r.n_train} | {r.n_validation} | {'yes' if r.rare == 'true' else ''} |"
        for r in table.itertuples()
    )
    warning = "".join(f"**{doubt}**\n\n" for doubt in unlearned(calibration, settings["label_key"]))
    return f"""# CellMemory model of '{settings["label_key"]}'

{warning}Trained by nf-cellmemory on {settings["cells"]:,} cells, {settings["model"]["n_genes"]:,} genes and {len(table)} labels
(seed {settings["seed"]}, best epoch {settings["training"]["best_epoch"]}).

On {calibration["validation_cells"]} held-out cells of the reference: accuracy {calibration["validation_accuracy"]:.3f}, expected
calibration error {calibration["ece_after"]:.3f} after temperature scaling ({calibration["ece_before"]:.3f} before). These cells
also decided when training stopped; a query of another donor or technology is harder than they are.

| label | cells | trained on | held out | rare |
| --- | --- | --- | --- | --- |
{rows}

Labels that are not in this table cannot be given; cells of other types should show as `unassigned` by their novelty.
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
