#!/usr/bin/env python3
"""Compares the labels of a mapped query with its true ones."""

from pathlib import Path

import click

import _cli


@_cli.command
@click.option("--mapped", "mapped_path", type=_cli.FILE, required=True, metavar="H5AD", help="Mapped query.")
@click.option("--truth_key", required=True, help="Obs column with the true labels.")
@click.option("--model", type=_cli.FOLDER, required=True, help="The model that mapped the query.")
@click.option("--batch_key", help="Obs column with batches: adds integration scores where scib-metrics is installed.")
@click.option("--output", type=_cli.Output("metrics"), required=True, metavar="JSON", help="Output: the metrics.")
def main(mapped_path: Path, truth_key: str, model: Path, batch_key: str | None, output: Path) -> None:
    """Accuracy, F1, calibration, label sets and novelty of a mapped query whose true labels are known.

    Cells of types that the model does not know count for novelty, not for accuracy; cells without a true label are
    left out.
    """
    from cellmemory import evaluation
    from cellmemory.errors import InputError, first_ids
    from cellmemory.io.atomic import write_json
    from cellmemory.mapping.mapped import MappedFile
    from cellmemory.reference import trained_model
    from cellmemory.reference.alarms import own_cells_sentence

    trained = trained_model.load(model)
    with MappedFile(mapped_path) as file:
        file.check_model(trained)
        truth = evaluation.true_labels(file.column(truth_key, "truth", "truth_key"), trained.labels)
        if not truth.notna().any():
            raise InputError(f"{mapped_path}: the obs column '{truth_key}' holds no value; give the one with true labels.")
        batch = file.column(batch_key, "batch", "batch_key") if batch_key else None
        table = trained.label_table
        found = evaluation.evaluate(file.obs, truth, trained.labels, table.loc[table["rare"], "label"].tolist())
        _cli.say(
            f"Read {mapped_path}: {found['cells']:,} cells, {found['cells_with_truth']:,} of them with a true label in "
            f"{truth_key}, {found['known_cells']:,} of these of a type that the model knows."
        )
        for unknown in found["unknown_types"]:
            _cli.say(f"Type that the model does not know: {unknown['label']}, {unknown['cells']:,} cells.")
        if not found["known_cells"]:
            types = [unknown["label"] for unknown in found["unknown_types"]]
            _cli.warn(
                f"No true label is one of the model's: {truth_key} has {first_ids(types)}; "
                f"the model has {first_ids(trained.labels)}. Accuracy cannot be computed."
            )
        if own := file.run.reference_cells or 0:
            _cli.warn(own_cells_sentence(own, file.n_cells))
        hierarchy = evaluation.by_level(file.obs, truth, trained.hierarchy) if trained.hierarchy else None
        for row in hierarchy["levels"] if hierarchy else ():
            if row["accuracy"] is not None:
                _cli.say(f"Level {row['level']}: accuracy {row['accuracy']:.3f}, macro F1 {row['macro_f1']:.3f}.")
        scores = None
        if batch is not None:
            scores, message = evaluation.integration(file.embedding("X_cellmemory"), truth, batch)
            _cli.say(message)
        result = {
            "sample": file.run.sample,
            "truth_key": truth_key,
            "reference_cells": own,
            **found,
            "hierarchy": hierarchy,
            "integration": scores,
        }
    write_json(output, result)
    figures = {name: found[name] for name in ("accuracy", "macro_f1", "ece", "novelty_auroc") if found[name] is not None}
    shown = ", ".join(f"{name} {figure:.3f}" for name, figure in figures.items())
    _cli.say(f"Wrote {output}: {shown or 'nothing can be compared'}.")


if __name__ == "__main__":
    main()
