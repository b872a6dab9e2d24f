"""For people: the model card, which says what a model was trained on, and the figure of its training's course."""

from io import BytesIO

import pandas as pd

from cellmemory.reference.alarms import unlearned
from cellmemory.reference.calibration import Calibration

#: Of Okabe and Ito: distinct for all kinds of colour vision; in print, markers and dashes distinguish them.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"


def model_card(config: dict, table: pd.DataFrame, calibration: Calibration) -> str:
    """model_card.md: what the model was trained on, how well it does on held-out cells, and what to mind."""
    rows = "\n".join(
        f"| {_cell(r.label)} | {r.n_cells} | {r.n_train} | {r.n_validation} | {'yes' if r.rare == 'true' else ''} |"
        for r in table.itertuples()
    )
    warning = "".join(f"**{doubt}**\n\n" for doubt in unlearned(calibration, config["label_key"]))
    return f"""# CellMemory model of '{config["label_key"]}'

{warning}Trained by nf-cellmemory on {config["cells"]:,} cells, {config["model"]["n_genes"]:,} genes and {len(table)} labels
(seed {config["seed"]}, best epoch {config["training"]["best_epoch"]}).

On {calibration.validation_cells} held-out cells of the reference: accuracy {calibration.validation_accuracy:.3f}, expected
calibration error {calibration.ece:.3f}. These cells also decided when training stopped; a query of another donor or technology
is harder than they are.

| label | cells | trained on | held out | rare |
| --- | --- | --- | --- | --- |
{rows}

Labels that are not in this table cannot be given; cells of other types should show as `unassigned` by their novelty.
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def plot_history(history: pd.DataFrame) -> bytes:
    """history.png: losses above, macro F1 of the validation cells below, the kept epoch marked. The same history gives the
    same bytes, whatever style a notebook has set."""
    import matplotlib.style

    with matplotlib.style.context("default"):
        return _plot_history(history)


def _plot_history(history: pd.DataFrame) -> bytes:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 5), dpi=150, layout="constrained")
    losses, scores = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    epoch = history["epoch"]
    best = int(epoch[history["validation_loss"].idxmin()])
    losses.plot(epoch, history["train_loss"], "o-", ms=4, color=BLUE, label="training")
    losses.plot(epoch, history["validation_loss"], "s--", ms=4, color=ORANGE, label="validation")
    scores.plot(epoch, history["validation_macro_f1"], "^-", ms=4, color=GREEN)
    for axes in (losses, scores):
        axes.axvline(best, color=GREY, lw=1, ls=":", zorder=0)
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    losses.plot([], [], color=GREY, lw=1, ls=":", label=f"kept: epoch {best}")
    losses.legend(frameon=False)
    losses.set(ylabel="loss (cross-entropy)")
    scores.set(xlabel="epoch", ylabel="validation macro F1", ylim=(0, 1.02))
    scores.xaxis.set_major_locator(MaxNLocator(integer=True))
    content = BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
