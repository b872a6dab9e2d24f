"""Executors without their sites: what is refused before a run, and what the schedulers of clusters are asked for."""

import os
import re
from pathlib import Path

import pytest

import cellmemory
from tests.pipeline.nextflow import ROOT, STEPS, asked, counted, nextflow, refused, succeed

CLOUD = ["--registry is missing", "-work-dir is /w, but"]
SITES = {
    # The executor, its work folder where all is set, that configuration, and what is said where nothing of it is set.
    "slurm": ("/w", {}, ["There is no sbatch on the PATH"]),
    "lsf": ("/w", {}, ["There is no bsub on the PATH"]),
    "sge": ("/w", {}, ["There is no qsub on the PATH"]),
    "awsbatch": (
        "s3://b/w",
        {"process": {"queue": "q"}, "aws": {"region": "r"}},
        [*CLOUD, "--queue is missing", "aws.region is missing"],
    ),
    "google-batch": (
        "gs://b/w",
        {"google": {"project": "p", "location": "l"}},
        [*CLOUD, "google.project is missing", "google.location is missing"],
    ),
    "azure-batch": (
        "az://b/w",
        {"process": {"queue": "q"}, "azure": {"batch": {"accountName": "a"}, "storage": {"accountName": "a"}}},
        [*CLOUD, "--queue is missing", "--gpu_queue is missing", "azure.batch.accountName is missing",
         "azure.storage.accountName is missing"],
    ),
    "k8s": ("/w", {"k8s": {"storageClaimName": "c"}}, ["--registry is missing", "k8s.storageClaimName is missing"]),
    "local": ("/w", {}, []),
}  # fmt: skip


def test_what_a_site_must_set_is_asked_for_and_nothing_else(tmp_path: Path):
    """The check by itself, for all executors in one run: a cloud's own run would need its plugin."""
    groovy = """
            def found = given.collectEntries { executor, site ->
                def complete = site[1] + [process: [executor: executor] + (site[1].process ?: [:])]
                def bare = [process: [executor: executor]]
                def set = [registry: 'r', use_gpu: true, gpu_queue: 'g']
                [executor, [
                    siteProblems(complete, set, site[0], [:]) { _command -> true },
                    siteProblems(bare, [use_gpu: true], '/w', [:]) { _command -> false },
                ]]
            }"""
    found = asked({"siteProblems": "site.nf"}, groovy, SITES, folder=tmp_path)
    for executor, (_folder, _complete, expected) in SITES.items():
        nothing, sentences = found[executor]
        assert nothing == []
        assert len(sentences) == len(expected), sentences
        assert all(sentence.startswith(start) for sentence, start in zip(sentences, expected, strict=True)), sentences


def test_a_run_that_lacks_something_is_refused(tmp_path: Path):
    output = refused("-profile", "test,awsbatch", folder=tmp_path, NXF_PLUGINS_DEFAULT="false")
    assert "--queue is missing: it names the job queue of AWS Batch." in output


NO_COMMAND = "There is no {} on the PATH: install it, or leave out -profile {}."
NO_IMAGE = "{} has no image nf-cellmemory:{}-{}"
VERSION = cellmemory.__version__
ENGINES_WITHOUT = {
    # Engine, executor, settings, commands on the PATH, those that fail, and the beginnings of what is said.
    "docker: missing": ("docker", "local", {}, [], [], [NO_COMMAND.format("docker", "docker")]),
    "docker: a dead daemon": ("docker", "local", {}, ["docker"], ["docker info"], ["docker does not answer: 'docker info' "]),
    "docker: no image": ("docker", "local", {}, ["docker"], ["docker image"], [NO_IMAGE.format("docker", VERSION, "cpu")]),
    "podman: no images": ("podman", "local", {"use_gpu": True}, ["podman"], ["podman image"],
                          [NO_IMAGE.format("podman", VERSION, "cpu"), NO_IMAGE.format("podman", VERSION, "cuda")]),
    "podman: a registry": ("podman", "local", {"registry": "r"}, ["podman"], ["podman image"], []),
    "docker: on a cluster's nodes": ("docker", "slurm", {}, [], [], []),
    "docker: in a cloud": ("docker", "awsbatch", {}, [], [], []),
    "singularity: nothing": ("singularity", "slurm", {}, [], [],
                             [NO_COMMAND.format("singularity", "singularity"), NO_IMAGE.format("singularity", VERSION, "cpu")]),
    "apptainer: a registry": ("apptainer", "local", {"registry": "r"}, ["apptainer"], [], []),
    "charliecloud: missing": ("charliecloud", "local", {}, [], [], [NO_COMMAND.format("ch-run", "charliecloud")]),
    "conda: missing": ("conda", "slurm", {}, [], [], [NO_COMMAND.format("conda", "conda")]),
    "conda: there": ("conda", "local", {}, ["conda"], [], []),
    "none": ("none", "local", {}, [], [], []),
}  # fmt: skip


def test_what_an_engine_lacks_is_said_before_a_run(tmp_path: Path):
    """The check by itself: no engine is on every machine, and none is dead or without images when a test needs it."""
    (tmp_path / "nextflow.config").write_text(f"includeConfig '{ROOT}/nextflow.config'\nmanifest.mainScript = 'main.nf'\n")
    groovy = """
            def container = nextflow.Global.session.config.process.container
            def found = given.collectEntries { name, about ->
                def config = [(about[0]): [enabled: true], process: [container: container, executor: about[1]], params: [:]]
                def reaches = { command -> command in about[3] }
                def succeeds = { command -> !about[4].any { start -> command.join(' ').startsWith(start) } }
                [name, engineProblems(config, about[2], '/w', [:], reaches, succeeds)]
            }"""
    found = asked({"engineProblems": "engines.nf"}, groovy, ENGINES_WITHOUT, folder=tmp_path)
    for name, (*_, expected) in ENGINES_WITHOUT.items():
        assert len(found[name]) == len(expected), (name, found[name])
        assert all(sentence.startswith(start) for sentence, start in zip(found[name], expected, strict=True)), found[name]


def test_a_run_with_a_dead_daemon_is_refused(tmp_path: Path):
    (tmp_path / "docker").write_text("#!/bin/bash\necho 'Cannot connect' >&2\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    output = refused("-profile", "test,docker", folder=tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert "docker does not answer: 'docker info' fails. Start it, and see that you may use it." in output


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
    named = re.compile(rf"(NEXTFLOW TASK: |### name: ')(\w+:)*{re.escape(step)}'?\n")  # depends on Nextflow's version
    (text,) = [text for text in texts if named.search(text)]
    lines = [line for line in text.splitlines() if line.startswith(("#SBATCH", "#BSUB", "#$"))]
    return {line for line in lines if " -J " not in line and " -N " not in line and " -o " not in line}


@pytest.mark.parametrize(
    ("profile", "account", "queue", "gpus"),
    [
        ("slurm", "-A us", "-p {}", "--gres=gpu:{}"),
        ("lsf", "-G us", "-q {}", "-gpu num={}"),
        ("sge", "-P us", "-q {}", "-l gpu={}"),
    ],
)
def test_schedulers_are_asked_for_queue_account_and_as_many_gpus_as_training_has_devices(
    profile: str, account: str, queue: str, gpus: str, tmp_path: Path
):
    (tmp_path / "site.config").write_text("executor { pollInterval = '500 ms'; submitRateLimit = null }")
    run = succeed(
        "-profile", f"test,{profile},cuda", "-stub-run", "-c", "site.config", "--queue", "slow", "--account", "us",
        "--gpu_queue", "fast", "--devices", "2", folder=tmp_path, PATH=scheduler(tmp_path),
    )  # fmt: skip
    assert counted(run.submitted) == STEPS
    check, train = header(tmp_path, "CHECK_INPUTS"), header(tmp_path, "TRAIN (reference)")
    has = lambda job, *wanted: all(any(f"{text} " in f"{line} " for line in job) for text in wanted)  # noqa: E731
    assert has(check, account, queue.format("slow")), check
    assert has(train, account, queue.format("fast"), gpus.format(2)), train
    assert has(header(tmp_path, "MAP_QUERY (unseen_type)"), gpus.format(1))
    assert not any("gpu" in line for line in check), check


def test_a_gpu_is_asked_for_by_the_name_that_it_has_at_a_site(tmp_path: Path):
    """The rules of the schedulers' profiles: --gpu_request takes the place of their own words."""
    expected = {"slurm": "--gres=a:1", "lsf": "-gpu a:1", "sge": "-P us -l a:1"}
    (tmp_path / "main.nf").write_text(f"""
        workflow {{
            {list(expected)}.each {{ profile ->
                def parser = new nextflow.config.ConfigParser().setBinding([params: [:]])
                def rule = parser.parse(file("{ROOT}/conf/${{profile}}.config")).process.clusterOptions
                def about = [params: [gpu_request: 'a:1', account: 'us'], task: [accelerator: [request: 1]]]
                println("${{profile}}: ${{rule.rehydrate(about, about, about)()}}")
            }}
        }}
        """)
    run = nextflow("run", "main.nf", folder=tmp_path)
    assert run.status == 0, run.output
    assert dict(re.findall(r"^(\w+): (-.*)$", run.output, re.MULTILINE)) == expected


def test_memory_grows_with_every_attempt_and_not_with_what_is_read_in_parts(tmp_path: Path):
    (tmp_path / "site.config").write_text("""
        executor { pollInterval = '1 s'; submitRateLimit = null }
        process { withName: 'TRAIN' { beforeScript = { task.attempt == 1 ? 'exit 137' : '' } } }
        """)
    (tmp_path / "query").mkdir()
    for name, size in (("reference.h5ad", 2**30), ("query/matrix.mtx", 2**31)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    (tmp_path / "queries.csv").write_text("sample,h5ad\na,query\n")
    run = succeed(
        "-profile", "slurm", "-stub-run", "-c", "site.config", "--input", "queries.csv", "--reference", "reference.h5ad",
        "--label_key", "x", folder=tmp_path, PATH=scheduler(tmp_path),
    )  # fmt: skip
    assert counted(run.submitted)["TRAIN"] == 1
    assert counted(run.retried)["TRAIN"] == 1
    for task in ("CHECK_INPUTS", "PREPROCESS_QUERY (a)", "PREPROCESS_REFERENCE (reference)", "MAP_QUERY (a)"):
        assert memory(tmp_path, task) == [6], task
    assert memory(tmp_path, "TRAIN (reference)") == [6, 12]


def memory(folder: Path, task: str) -> list[float]:
    """The GB that the attempts of a task asked for."""
    texts = [path.read_text() for path in folder.glob("work/*/*/.command.run")]
    asked = [
        re.search(r"#SBATCH --mem (\d+)M", text)[1]
        for text in texts
        if re.search(rf"### name: '(\w+:)*{re.escape(task)}'\n", text)
    ]
    return sorted(int(number) / 1024 for number in asked)


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
        (tmp_path / f"nf-cellmemory-{cellmemory.__version__}-{kind}.img").touch()
    path = f"{commands}:{os.environ['PATH']}"
    run = succeed(
        "-profile", f"test,{engine},cuda", "-stub-run", folder=tmp_path, PATH=path, NXF_SINGULARITY_CACHEDIR=str(tmp_path)
    )
    assert counted(run.submitted) == STEPS
    texts = [path.read_text() for path in tmp_path.glob("work/*/*/.command.run")]
    shown = {re.search(r"### name: '(?:\w+:)*(\w+)", text)[1] for text in texts if f" {ENGINES[engine]} " in text}
    cuda = {re.search(r"### name: '(?:\w+:)*(\w+)", text)[1] for text in texts if f"{cellmemory.__version__}-cuda" in text}
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
