#!/usr/bin/env python3
"""Writes the SHA-256 of what a result was made from, and of the result, for its record of provenance."""

from pathlib import Path

import click

import _cli


@_cli.command
@click.option("--input", "inputs", type=_cli.FILE_OR_FOLDER, multiple=True, metavar="PATH", help="A file or folder that went in.")
@click.option("--result", "results", type=_cli.FILE, multiple=True, metavar="FILE", help="A file that came out.")
@click.option("--model", type=_cli.FOLDER, help="Folder of the trained model that made the results, if any.")
@click.option(
    "--output", type=_cli.Output("checksums"), required=True, metavar="JSON", help="Output: names, sizes and checksums."
)
def main(inputs: tuple[Path, ...], results: tuple[Path, ...], model: Path | None, output: Path) -> None:
    """Name, size and SHA-256 of every file that went into a result and of every file of it, and the model's digest.

    A folder's files are listed one by one. They are what the links lead to.
    """
    from cellmemory.errors import InputError
    from cellmemory.io.atomic import checksums, write_json
    from cellmemory.io.checked import read_json, text, wrong_fields

    digest = None
    if model:
        config = read_json(model / "config.json")
        if clauses := wrong_fields(config, {"digest": text()}):
            raise InputError(f"{model / 'config.json'}: {clauses[0]}. Use an untouched copy of the trained model.")
        digest = config["digest"]
    write_json(output, {"inputs": checksums(inputs), "results": checksums(results), "model": digest})
    _cli.say(f"Wrote {output}: checksums of {len(inputs)} inputs and {len(results)} results.")


if __name__ == "__main__":
    main()
