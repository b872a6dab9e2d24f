#!/usr/bin/env python3
"""Copies a trained model from its folder into an archive, or the other way round."""

from pathlib import Path

import click

import _cli


@_cli.command
@click.option("--model", type=_cli.FILE_OR_FOLDER, required=True, help="Trained model: its folder or archive.")
@click.option("--output", type=_cli.Output("copied"), required=True,
              help="The copy: a folder, or an archive if the name ends with .zip.")  # fmt: skip
def main(model: Path, output: Path) -> None:
    """Copies a trained model, byte for byte, once all of it has been checked: a folder to compute with, or one file to share."""
    from cellmemory.reference import trained_model

    copied = trained_model.copy(model, output)
    _cli.say(f"Wrote {output}: {len(copied.labels)} labels, {len(copied.panel):,} genes, digest {copied.config['digest'][:12]}.")


if __name__ == "__main__":
    main()
