#!/usr/bin/env python3
"""Says where several references agree on the labels of a query's cells."""

from pathlib import Path

import click

import _cli


@_cli.command
@click.option("--sample", required=True, help="The query's name.")
@click.option("--labels", "tables", type=(str, _cli.FILE), required=True, multiple=True, metavar="NAME CSV",
              help="A reference's name and the labels.csv of the query on it; two references or more.")  # fmt: skip
@click.option("--label_map", type=_cli.FILE, metavar="TSV",
              help="Columns reference, label and common_label: labels that the references write differently.")  # fmt: skip
@click.option(
    "--output", type=_cli.Output("consensus"), required=True, metavar="CSV", help="Output: label, share and status of each cell."
)
@click.option(
    "--summary",
    "summary_path",
    type=_cli.Output("agreement"),
    required=True,
    metavar="JSON",
    help="Output: how often they agree.",
)
@click.option("--mqc", type=_cli.Output("multiqc"), metavar="JSON", help="Output: the summary for MultiQC, named *_mqc.json.")
def main(sample: str, tables: tuple[tuple[str, Path], ...], label_map: Path | None, output: Path, summary_path: Path,
         mqc: Path | None) -> None:  # fmt: skip
    """A vote of the references on each cell of a query, and how often every two of them agree.

    Each reference that assigns a cell has one vote. Labels agree where their texts are equal, after --label_map.
    """
    from cellmemory.consensus.label_map import read_label_map
    from cellmemory.consensus.summary import multiqc
    from cellmemory.consensus.vote import vote
    from cellmemory.errors import InputError
    from cellmemory.io.atomic import replacing, write_json
    from cellmemory.io.samplesheet import check_references, check_sample

    check_sample(sample)
    names = [name for name, _ in tables]
    check_references(names)
    if len(names) < 2 or len(set(names)) < len(names):
        raise InputError(f"--labels is given for {', '.join(names)}: a consensus needs two references or more, each once.")
    mapped = read_label_map(label_map, names) if label_map else {}
    with replacing(output) as partial:
        summary = vote(sample, dict(tables), mapped, partial)
    write_json(summary_path, summary)
    if mqc:
        write_json(mqc, multiqc(summary))
    _cli.say(f"Wrote {output} and {summary_path}.")


if __name__ == "__main__":
    main()
