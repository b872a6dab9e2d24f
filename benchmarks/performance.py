#!/usr/bin/env python3
"""docs/performance.md from the results of throughput.py and scale.py."""

import json
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent


@click.command(help=__doc__)
@click.option("--results", type=click.Path(path_type=Path), default=ROOT / "benchmarks/results")
@click.option("--page", type=click.Path(path_type=Path), default=ROOT / "docs/performance.md")
def main(results: Path, page: Path) -> None:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    throughput, scale = (json.loads((results / f"{name}.json").read_text()) for name in ("throughput", "scale"))
    central = next((row for row in throughput["by_genes"] if row["genes"] == 2000), throughput["by_genes"][0])
    templates = Environment(loader=FileSystemLoader(ROOT / "benchmarks"), undefined=StrictUndefined, trim_blocks=True)
    templates.filters["thousands"] = "{:,}".format
    text = templates.get_template("performance.md.j2").render(throughput=throughput, central=central, scale=scale)
    page.write_text(text + "\n")
    click.echo(f"wrote {page}")


if __name__ == "__main__":
    main()
