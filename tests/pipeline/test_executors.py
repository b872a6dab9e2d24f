"""Executors without their sites: what is refused before a run, and what the schedulers of clusters are asked for."""

import json
import os
import re
from pathlib import Path

import pytest

from tests.pipeline.nextflow import ROOT, STEPS, counted, nextflow, refused, succeed

MISSING = {
    "lsf": ["There is no bsub on the PATH"],
    "sge": ["There is no qsub on the PATH"],
    "awsbatch": ["--registry is missing", "AWS Batch needs one in its storage: -work-dir s3://", "--queue is missing",
                 "aws.region is missing"],
    "googlebatch": ["--registry is missing", "Google Batch needs one in its storage: -work-dir gs://",
                    "google.project is missing", "google.location is missing"],
    "azurebatch": ["--registry is missing", "Azure Batch needs one in its storage: -work-dir az://", "--queue is missing",
                   "azure.batch.accountName is missing", "azure.storage.accountName is missing"],
    "k8s": ["--registry is missing", "k8s.storageClaimName is missing"],
}  # fmt: skip


@pytest.mark.parametrize("profile", MISSING)
def test_what_a_site_must_set_is_asked_for_before_the_run(profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    # The plugins of clouds are not at hand: nothing of them is needed to find out what is missing.
    output = refused("-profile", f"test,{profile}", folder=tmp_path, NXF_PLUGINS_DEFAULT="false")
    sentences = [line for line in output.splitlines() if "is missing" in line or "needs one" in line or "There is no" in line]
    assert len(sentences) == len(MISSING[profile])
    for start, sentence in zip(MISSING[profile], sentences, strict=True):
        assert start in sentence


COMPLETE = {
    "slurm": {"process": {"executor": "slurm"}},
    "awsbatch": {"process": {"executor": "awsbatch", "queue": "q"}, "aws": {"region": "r"}},
    "google-batch": {"process": {"executor": "google-batch"}, "google": {"project": "p", "location": "l"}},
    "azure-batch": {
        "process": {"executor": "azure-batch", "queue": "q"},
        "azure": {"batch": {"accountName": "a"}, "storage": {"accountName": "a"}},
    },
    "k8s": {"process": {"executor": "k8s"}, "k8s": {"storageClaimName": "c"}},
}


def test_nothing_is_asked_for_where_all_is_set(tmp_path: Path):
    """The check by itself: a run with the work folder of a cloud would need its plugin."""
    folders = {"awsbatch": "s3://b/w", "google-batch": "gs://b/w", "azure-batch": "az://b/w"}
    (tmp_path / "sites.json").write_text(json.dumps([[folders.get(name, "/w"), site] for name, site in COMPLETE.items()]))
    (tmp_path / "main.nf").write_text(f"""
        include {{ siteProblems }} from '{ROOT}/functions/site.nf'
        workflow {{
            new groovy.json.JsonSlurper().parse(file("${{projectDir}}/sites.json")).each {{ folder, site ->
                def settings = [registry: 'r', use_gpu: true, gpu_queue: 'g']
                println("${{site.process.executor}}: ${{siteProblems(site, settings, folder, [:]) {{ _command -> true }}}}")
            }}
        }}
        """)
    run = nextflow("run", "main.nf", folder=tmp_path)
    assert run.status == 0, run.output
    for name in COMPLETE:
        assert f"{name}: []" in run.output


def scheduler(folder: Path) -> str:
    """A PATH with the submit commands of three schedulers that run a job at once, on this machine."""
    commands = folder / "commands"
    commands.mkdir()
    run = "#!/bin/bash\n{script}\nbash $script &>/dev/null </dev/null &\necho '{said}'\n"
    bodies = {
        "sbatch": run.format(script="script=$PWD/$1", said="Submitted batch job 1"),
        "qsub": run.format(script="script=$PWD/${@: -1}", said="1"),
        "bsub": run.format(script="script=$(mktemp); cat >$script", said="Job <1> is submitted to queue <q>."),
    }
    for name in ("squeue", "qstat", "bjobs", "scancel", "qdel", "bkill"):
        bodies[name] = "#!/bin/bash\n"
    for name, body in bodies.items():
        (commands / name).write_text(body)
        (commands / name).chmod(0o755)
    return f"{commands}:{os.environ['PATH']}"


def header(folder: Path, step: str) -> set[str]:
    """The directives of the job of a step, without what differs from run to run: its name and the file of its log."""
    texts = [path.read_text() for path in folder.glob("work/*/*/.command.run")]
    named = re.compile(rf"(NEXTFLOW TASK: |### name: ')CELLMEMORY:{re.escape(step)}'?\n")  # depends on Nextflow's version
    (text,) = [text for text in texts if named.search(text)]
    lines = [line for line in text.splitlines() if line.startswith(("#SBATCH", "#BSUB", "#$"))]
    return {line for line in lines if " -J " not in line and " -N " not in line and " -o " not in line}


@pytest.mark.parametrize(
    ("profile", "request_", "on_all", "on_gpu"),
    [
        ("slurm", "gpu:a100:1", {"-A us"}, {"-p fast", "--gres=gpu:a100:1"}),
        ("lsf", "num=1:mode=shared", {"-G us"}, {"-q fast", "-gpu num=1:mode=shared"}),
        ("sge", "gpu_card=1", {"-P us"}, {"-q fast", "-l gpu_card=1"}),
    ],
)
def test_schedulers_are_asked_for_queue_account_and_gpu(
    profile: str, request_: str, on_all: set[str], on_gpu: set[str], tmp_path: Path
):
    (tmp_path / "site.config").write_text("executor { pollInterval = '1 s'; submitRateLimit = null }")
    run = succeed(
        "-profile", f"test,{profile},cuda", "-stub-run", "-c", "site.config", "--queue", "slow", "--account", "us",
        "--gpu_queue", "fast", "--gpu_request", request_, folder=tmp_path, PATH=scheduler(tmp_path),
    )  # fmt: skip
    assert counted(run.submitted) == STEPS
    check, train = header(tmp_path, "CHECK_INPUTS"), header(tmp_path, "TRAIN")
    has = lambda job, wanted: all(any(text in line for line in job) for text in wanted)  # noqa: E731
    assert has(check, on_all | {text.replace("fast", "slow") for text in on_gpu if "fast" in text}), check
    assert has(train, on_all | on_gpu), train
    assert not any("gpu" in line for line in check), check


@pytest.mark.parametrize(("profile", "asked"), [("slurm", "--gres=gpu:{}"), ("lsf", "-gpu num={}"), ("sge", "-l gpu={}")])
def test_training_asks_for_as_many_gpus_as_it_has_devices(profile: str, asked: str, tmp_path: Path):
    (tmp_path / "site.config").write_text("executor { pollInterval = '1 s'; submitRateLimit = null }")
    options = ("-profile", f"test,{profile},cuda", "-stub-run", "-c", "site.config", "--devices", "2")
    succeed(*options, folder=tmp_path, PATH=scheduler(tmp_path))
    for step, gpus in (("TRAIN", 2), ("MAP_QUERY (unseen_type)", 1)):
        assert any(line.endswith(asked.format(gpus)) for line in header(tmp_path, step)), header(tmp_path, step)


def test_memory_grows_with_the_input_and_with_every_attempt(tmp_path: Path):
    (tmp_path / "site.config").write_text("""
        executor { pollInterval = '1 s'; submitRateLimit = null }
        process { withName: 'TRAIN' { beforeScript = { task.attempt == 1 ? 'kill -KILL $$' : '' } } }
        """)
    for name, size in (("reference.h5ad", 10**9), ("query.h5", 2 * 10**9)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    (tmp_path / "queries.csv").write_text("sample,h5ad\na,query.h5\n")
    run = succeed(
        "-profile", "slurm", "-stub-run", "-c", "site.config", "--input", "queries.csv", "--reference", "reference.h5ad",
        "--label_key", "x", folder=tmp_path, PATH=scheduler(tmp_path),
    )  # fmt: skip
    assert counted(run.submitted)["TRAIN"] == 1
    assert counted(run.retried)["TRAIN"] == 1
    usual = 6 * 2**30
    assert memory(tmp_path, "CHECK_INPUTS") == [usual + 10 * 2 * 10**9]
    assert memory(tmp_path, "PREPROCESS_QUERY (a)") == [usual + 10 * 2 * 10**9]
    assert memory(tmp_path, "PREPROCESS_REFERENCE") == [usual + 8 * 10**9]
    assert memory(tmp_path, "MAP_QUERY (a)") == [usual]
    assert memory(tmp_path, "TRAIN") == [8 * 2**30, 16 * 2**30]


def memory(folder: Path, task: str) -> list[int]:
    """The bytes that the attempts of a task asked for; Slurm is told whole megabytes."""
    texts = [path.read_text() for path in folder.glob("work/*/*/.command.run")]
    asked = [re.search(r"#SBATCH --mem (\d+)M", text)[1] for text in texts if f"NEXTFLOW TASK: CELLMEMORY:{task}\n" in text]
    return sorted(int(number) * 2**20 for number in asked)


ENGINES = {"docker": "--gpus all", "singularity": "--nv"}


@pytest.mark.parametrize("engine", ENGINES)
def test_gpus_are_shown_to_the_containers_that_use_one(engine: str, tmp_path: Path):
    """The engine is one that runs the command outside of any container: what it was asked for is in .command.run."""
    commands = tmp_path / "commands"
    commands.mkdir()
    body = '#!/bin/bash\nwhile [ $# -gt 0 ] && [ "$1" != /bin/bash ]; do shift; done\n[ $# = 0 ] || exec "$@"\n'
    (commands / engine).write_text(body)
    (commands / engine).chmod(0o755)
    for kind in ("cpu", "cuda"):
        (tmp_path / f"nf-cellmemory-0.1.0-{kind}.img").touch()
    path = f"{commands}:{os.environ['PATH']}"
    run = succeed(
        "-profile", f"test,{engine},cuda", "-stub-run", folder=tmp_path, PATH=path, NXF_SINGULARITY_CACHEDIR=str(tmp_path)
    )
    assert counted(run.submitted) == STEPS
    texts = [path.read_text() for path in tmp_path.glob("work/*/*/.command.run")]
    shown = {text.split("NEXTFLOW TASK: CELLMEMORY:")[1].split()[0] for text in texts if f" {ENGINES[engine]} " in text}
    cuda = {text.split("NEXTFLOW TASK: CELLMEMORY:")[1].split()[0] for text in texts if "0.1.0-cuda" in text}
    assert shown == cuda == {"TRAIN", "MAP_QUERY"}


def test_clouds_show_a_gpu_by_the_accelerator_alone(tmp_path: Path):
    """The rules of conf/base.config, asked for each executor: no run on a cloud is needed to see what it would be told."""
    clouds = ["local", "awsbatch", "google-batch", "azure-batch", "k8s"]
    (tmp_path / "nextflow.config").write_text(f"includeConfig '{ROOT}/nextflow.config'\nmanifest.mainScript = 'main.nf'\n")
    (tmp_path / "main.nf").write_text(f"""
        workflow {{
            def rules = nextflow.Global.session.config.process.'withLabel:process_gpu'
            {clouds}.each {{ executor ->
                def about = [params: [use_gpu: true], task: [executor: executor], workflow: [containerEngine: 'docker']]
                def told = ['accelerator', 'containerOptions'].collect {{ name -> rules[name].rehydrate(about, about, about)() }}
                println("${{executor}}: ${{told[0].request}} ${{told[0].type}} ${{told[1]}}")
            }}
        }}
        """)
    run = nextflow("run", "main.nf", folder=tmp_path)
    assert run.status == 0, run.output
    told = dict(re.findall(r"^([\w-]+): (1 .*)$", run.output, re.MULTILINE))
    assert told == {
        "local": "1 null --gpus all",
        "awsbatch": "1 null null",
        "google-batch": "1 nvidia-tesla-t4 null",
        "azure-batch": "1 null null",
        "k8s": "1 nvidia.com/gpu null",
    }
