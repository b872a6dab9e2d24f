"""Kills at random moments: `python -m tests.corpus.kills --kills 200 --seed 0`, or `make kills`.

A script is killed (SIGKILL, which nothing can catch) somewhere within the time that it takes. After that each of its outputs
is absent or whole, as an earlier run left it; its inputs are as they were; and in the end the same command again gives the
same bytes as a run that nobody killed. Nextflow is killed the same way, and goes on with -resume.
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click

from tests.corpus import cells

ROOT = Path(__file__).parents[2]
#: Runs of Nextflow that are killed, for each hundred kills of scripts: each takes as long as ten of these.
NEXTFLOW_KILLS = 10


@dataclass(frozen=True)
class Step:
    """A script with its options; outputs are named by `OUT/`, and inputs stand in the folder of all."""

    script: str
    options: str

    def command(self, out: str) -> list[str]:
        return [sys.executable, str(ROOT / "bin" / f"{self.script}.py"), *self.options.replace("OUT", out).split()]


STEPS = [
    Step("check_inputs", "--samplesheet sheet.csv --reference reference.h5ad --label_key cell_type --output OUT/i.json "
         "--query_genes OUT/g.tsv"),
    Step("preprocess_reference", "--reference reference.h5ad --label_key cell_type --output OUT/aligned.h5ad "
         "--panel OUT/panel.tsv"),
    Step("train", "--reference made/aligned.h5ad --panel made/panel.tsv --label_key cell_type --output OUT/model --max_epochs 2 "
         "--threads 1 --checkpoint_every 0"),
    Step("preprocess_query", "--query query.h5ad --panel made/panel.tsv --truth_key cell_type --output OUT/q.aligned.h5ad "
         "--alignment OUT/q.alignment.json"),
    Step("adapt", "--query made/q.aligned.h5ad --model made/model --output OUT/adapted --threads 1"),
    Step("map_query", "--query made/q.aligned.h5ad --model made/model --output OUT/q.mapped.h5ad --labels OUT/q.labels.csv "
         "--threads 1"),
    Step("extract_tags", "--mapped made/q.mapped.h5ad --model made/model --permutations 50 --tags OUT/q.tags.tsv "
         "--slot_tags OUT/q.slot_tags.tsv --profiles OUT/q.tag_profiles.h5ad --threads 1"),
    Step("faithfulness", "--mapped made/q.mapped.h5ad --model made/model --output OUT/q.faithfulness.tsv --threads 1"),
    Step("enrich", "--tags made/q.tags.tsv --slot_tags made/q.slot_tags.tsv --panel made/panel.tsv --gmt sets.gmt "
         "--output OUT/q.enrichment.tsv"),
    Step("cluster", "--mapped made/q.mapped.h5ad --model made/model --cell_clusters OUT/q.cell_clusters.csv "
         "--clusters OUT/q.clusters.tsv --cluster_markers OUT/q.cluster_markers.tsv --threads 1"),
    Step("annotate", "--query query.h5ad --mapped made/q.mapped.h5ad --cell_clusters made/q.cell_clusters.csv "
         "--output OUT/q.annotated.h5ad"),
    Step("evaluate", "--mapped made/q.mapped.h5ad --model made/model --truth_key cell_type --output OUT/q.metrics.json"),
    Step("report", "--model made/model --mapped made/q.mapped.h5ad --output OUT/q.html --mqc_dir OUT/mqc "
         "--figures_dir OUT/figures"),
    Step("map_query", "--query made/q.aligned.h5ad --model made/model --cells 0:50 --output OUT/s0.h5ad --threads 1"),
    Step("map_query", "--query made/q.aligned.h5ad --model made/model --cells 50:120 --output OUT/s1.h5ad --threads 1"),
    Step("gather", "--query made/q.aligned.h5ad --model made/model --slice made/s0.h5ad --slice made/s1.h5ad "
         "--output OUT/g.mapped.h5ad --labels OUT/g.labels.csv --threads 1"),
    Step("map_query", "--query made/q.aligned.h5ad --model made/adapted --output OUT/a.mapped.h5ad --labels OUT/a.labels.csv "
         "--threads 1"),
    Step("extract_tags", "--mapped made/a.mapped.h5ad --permutations 0 --tags OUT/a.tags.tsv --slot_tags OUT/a.slot_tags.tsv "
         "--profiles OUT/a.tag_profiles.h5ad --threads 1"),
    Step("compare_slots", "--profiles made/q.tag_profiles.h5ad --profiles made/a.tag_profiles.h5ad --output OUT/slots.tsv"),
    Step("consensus", "--sample q --labels one made/q.labels.csv --labels two made/a.labels.csv --output OUT/consensus.csv "
         "--summary OUT/consensus.json"),
    Step("checksums", "--input query.h5ad --result made/q.mapped.h5ad --output OUT/q.checksums.json"),
]  # fmt: skip


def digests(folder: Path) -> dict[str, str]:
    """A digest of each file, but of those that are still being written."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    named = {str(path.relative_to(folder)): path for path in files}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in named.items() if not _is_partial(name)}


def _is_partial(name: str) -> bool:
    return any(part.startswith(".partial-") or part.endswith(".checkpoints") for part in Path(name).parts)


def kill_within(command: list[str], folder: Path, seconds: float) -> bool:
    """Starts a command and kills it and all that it started after a time; whether it was still running."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    time.sleep(seconds)
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return running


def problems_of(found: dict[str, str], whole: dict[str, str], before: dict[str, str]) -> list[str]:
    """What a kill broke: outputs that are neither absent nor whole, and earlier ones that are gone."""
    broken = [f"{name} is half written" for name, digest in found.items() if digest != whole.get(name)]
    return broken + [f"{name} is gone" for name in before if name not in found]


def kill_scripts(folder: Path, kills: int, rng: random.Random) -> tuple[int, int, list[str]]:
    """Kills the scripts in turn. Returns how many ran when they were killed, how many had ended, and all that broke."""
    hit, problems, made = 0, [], folder / "made"
    made.mkdir()
    durations = {}
    for step in STEPS:
        start = time.monotonic()
        subprocess.run(step.command("made"), cwd=folder, check=True, capture_output=True)
        durations[step] = time.monotonic() - start
    whole, inputs = digests(made), digests(folder)
    for number in range(kills):
        step, out = STEPS[number % len(STEPS)], folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        before = {}
        if number // len(STEPS) % 2:  # over the results of an earlier run
            subprocess.run(step.command("out"), cwd=folder, check=True, capture_output=True)
            before = digests(out)
        hit += kill_within(step.command("out"), folder, rng.uniform(0.05, 1) * durations[step])
        problems += [f"kill {number}, {step.script}: {problem}" for problem in problems_of(digests(out), whole, before)]
        if rng.random() < 0.3:
            subprocess.run(step.command("out"), cwd=folder, check=True, capture_output=True)
            own = digests(out)
            problems += [f"kill {number}, {step.script} again: {p}" for p in problems_of(own, whole, before)]
            problems += [f"kill {number}, {step.script} again: {name} is not made"
                         for name in digests_of(step, whole) if name not in own]  # fmt: skip
        shutil.rmtree(out)
    if {name: digest for name, digest in digests(folder).items() if name in inputs} != inputs:
        problems.append("an input was changed")
    return hit, kills - hit, problems


def digests_of(step: Step, whole: dict[str, str]) -> list[str]:
    """The files of `whole` that a step makes."""
    outputs = [part.removeprefix("OUT/") for part in step.options.split() if part.startswith("OUT/")]
    return [name for name in whole if any(name == output or name.startswith(f"{output}/") for output in outputs)]


def kill_nextflow(folder: Path, kills: int, rng: random.Random) -> list[str]:
    """Kills stub runs of the test profile, goes on with -resume, and compares the names of all results."""
    command = [str(ROOT / ".venv/bin/nextflow"), "run", str(ROOT), "-profile", "test", "-stub", "-ansi-log", "false"]
    folder.mkdir()
    start = time.monotonic()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    duration = time.monotonic() - start
    whole, problems = _results(folder), []
    for number in range(kills):
        shutil.rmtree(folder)
        folder.mkdir()
        kill_within(command, folder, rng.uniform(0.3, 1) * duration)
        again = subprocess.run([*command, "-resume"], cwd=folder, capture_output=True, text=True, check=False)
        if again.returncode or _results(folder) != whole:
            problems.append(f"Nextflow, kill {number}: status {again.returncode}\n{again.stdout[-800:]}{again.stderr[-800:]}")
    return problems


def _results(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in (folder / "results").rglob("*") if "pipeline_info" not in path.parts}


@click.command()
@click.option("--kills", type=click.IntRange(min=1), default=200, show_default=True, help="Kills of scripts.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the moments.")
def main(kills: int, seed: int) -> None:
    """Kills scripts and runs of Nextflow; ends with status 1 if anything was lost or half written."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "scripts"
        folder.mkdir()
        cells.good(0).write_h5ad(folder / "reference.h5ad")
        cells.good(1).write_h5ad(folder / "query.h5ad")
        (folder / "sheet.csv").write_text("sample,h5ad\ns,query.h5ad\n")
        (folder / "sets.gmt").write_text(
            "".join(f"T{i}\tx\t" + "\t".join(f"GENE{10 * i + k}" for k in range(10)) + "\n" for i in range(3))
        )
        hit, ended, problems = kill_scripts(folder, kills, rng)
        n_runs = -(-kills * NEXTFLOW_KILLS // 100)
        problems += kill_nextflow(Path(name) / "nextflow", n_runs, rng)
    for problem in problems:
        click.echo(problem)
    click.echo(f"{hit} kills of running scripts ({ended} more had ended) and {n_runs} of Nextflow: {len(problems)} problems.")
    raise SystemExit(bool(problems))


if __name__ == "__main__":
    main()
