#!/usr/bin/env python3
"""Compares the labels of a mapped query with its true ones."""

from pathlib import Path

import click

import _cli


@_cli.command
@click.option("--mapped", "mapped_path", type=_cli.FILE, required=True, metavar="H5AD", help="Mapped query.")
@click.option("--truth_key", required=True, help="Obs column with the true labels.")
@click.option("--model", type=_cli.FILE_OR_FOLDER, required=True, help="The model that mapped the query: its folder or archive.")
@click.option("--batch_key", help="Obs column with batches: adds integration scores where scib-metrics is installed.")
@click.option("--output", type=_cli.Output("metrics"), required=True, metavar="JSON", help="Output: the metrics.")
def main(mapped_path: Path, truth_key: str, model: Path, batch_key: str | None, output: Path) -> None:
    """Accuracy, F1, calibration, label sets and novelty of a mapped query whose true labels are known.

    Cells of types that the model does not know count for novelty, not for accuracy; cells without a true label are
    left out.
    """
    from cellmemory.evaluation import evaluate_file
    from cellmemory.io.atomic import write_json
    from cellmemory.reference import trained_model

    found = evaluate_file(mapped_path, trained_model.load(model), truth_key, batch_key=batch_key)
    write_json(output, found)
    figures = {name: found[name] for name in ("accuracy", "macro_f1", "ece", "novelty_auroc") if found[name] is not None}
    shown = ", ".join(f"{name} {figure:.3f}" for name, figure in figures.items())
    _cli.say(f"Wrote {output}: {shown or 'nothing can be compared'}.")


if __name__ == "__main__":
    main()
