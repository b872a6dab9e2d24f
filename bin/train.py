#!/usr/bin/env python3
"""Trains CellMemory on a preprocessed reference."""

from pathlib import Path

import click

import _cli


def _beside_output(context: click.Context, _: click.Parameter, given: Path | None) -> Path:
    """The folder of checkpoints. Its default is set here, so that it is checked before work as a given one is."""
    from cellmemory.io.outputs import checkpoints_beside

    return given or checkpoints_beside(context.params["output"])


@_cli.command
@click.option("--reference", type=_cli.FILE, required=True, help="Reference over its panel (by preprocess_reference.py).")
@click.option("--panel", type=_cli.FILE, required=True, help="Its panel.tsv.")
@click.option("--label_key", required=True, help="Column of obs with the labels.")
@click.option("--batch_key", help="Column of obs with the batch; validation cells are drawn from every batch.")
@click.option("--label_levels", help="Columns of obs with the labels at several levels, coarse to fine, with commas; the last "
              "is --label_key.")  # fmt: skip
@click.option(
    "--output",
    type=_cli.Output("model"),
    required=True,
    help="Trained model: a folder, or an archive if the name ends with .zip.",
)
@click.option("--mode", type=click.Choice(["fast", "full"]), default="fast", help="Tokens: expressed genes, or all measured.")
@click.option("--binning", type=click.Choice(["quantile", "log"]), default="quantile", help="Expression bins.")
@click.option("--max_epochs", type=click.IntRange(1, 10_000), default=20, help="Epochs, at most; the learning rate ends there.")
@click.option("--patience", type=click.IntRange(min=1), default=5, help="Epochs without a lower validation loss to stop after.")
@click.option("--batch_size", type=click.IntRange(1, 100_000), default=32, help="Cells of a training step.")
@click.option("--sampling", type=click.Choice(["balanced", "natural"]), default="balanced", help="How cells are drawn: every "
              "label as often as every other (in a large reference by the root of its cells), or as it is.")  # fmt: skip
@click.option("--learning_rate", type=_cli.Number(min=0, max=1, min_open=True), default=1e-3, help="Highest learning rate.")
@click.option("--variant", type=click.Choice(["light", "standard"]), default="light", help="standard: the paper's layers. "
              "light: gene tokens are not rewritten, at a tenth of the cost.")  # fmt: skip
@click.option("--d_model", type=click.IntRange(8, 4096), help="Width, a multiple of 4.  [default: light 128, standard 256]")
@click.option("--n_layers", type=click.IntRange(1, 100), default=4, help="Layers: rounds of writing and broadcasting.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", help="Number format of products.")
@click.option("--checkpoint", type=_cli.Output("checkpoints"), callback=_beside_output, help="Folder of the "
              "checkpoint from which a killed training continues; removed at its end.  [default: beside --output]")  # fmt: skip
@click.option("--checkpoint_every", type=_cli.Number(min=0), default=30, help="Seconds between checkpoints.")
@click.option("--devices", type=click.IntRange(min=1), default=1, help="GPUs, or processes on a CPU, that share each batch.")
@click.option("--strategy", type=click.Choice(["auto", "ddp"]), default="auto", help="Lightning's strategy for them; auto is "
              "ddp for several.")  # fmt: skip
@_cli.device
@_cli.threads
@_cli.seed
def main(
    reference: Path,
    panel: Path,
    label_key: str,
    batch_key: str | None,
    label_levels: str | None,
    output: Path,
    mode: str,
    binning: str,
    max_epochs: int,
    patience: int,
    batch_size: int,
    sampling: str,
    learning_rate: float,
    variant: str,
    d_model: int | None,
    n_layers: int,
    precision: str,
    checkpoint: Path,
    checkpoint_every: float,
    devices: int,
    strategy: str,
    device: str,
    threads: int,
    seed: int,
) -> None:
    """Trains CellMemory on a preprocessed reference, to an early stop on held-out cells, and calibrates it on them.

    The same command again continues a killed training.
    """
    from cellmemory.network.runtime import configure
    from cellmemory.reference.hierarchy import parse_levels
    from cellmemory.training.aligned_reference import ReferenceFiles
    from cellmemory.training.settings import Devices, ModelSize, Sampling, Schedule, TrainingSettings
    from cellmemory.training.train import CheckpointFolder, train_reference

    settings = TrainingSettings(
        label_key=label_key,
        batch_key=batch_key,
        label_levels=tuple(parse_levels(label_levels, label_key)),
        mode=mode,
        binning=binning,
        seed=seed,
        size=ModelSize(variant, d_model, n_layers),
        schedule=Schedule(max_epochs=max_epochs, patience=patience, learning_rate=learning_rate),
        sampling=Sampling(batch_size, sampling=sampling),
    )
    runtime = configure(device, precision, threads, seed=seed, variant=variant)
    folder = CheckpointFolder(checkpoint, checkpoint_every)
    source = ReferenceFiles(reference, panel)
    train_reference(source, output, settings, runtime, devices=Devices(devices, strategy), checkpoint=folder)


if __name__ == "__main__":
    main()
