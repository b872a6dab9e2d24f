#!/usr/bin/env bash
# The test profile in containers, for real: the CPU image is built from its Containerfile by podman, and every task runs
# in it as a user without rights, on a root file system that cannot be written to. `make test-containers`.
#
#     tests/integration/containers.sh [options of podman build]
#
# Where no image registry and no index of torch builds is reached, both can be replaced:
#     --build-arg BASE_IMAGE=localhost/debian:bookworm-slim --build-arg TORCH_BACKEND=
# Called as root, it works as a user of its own, podman-test, who is made for it and removed at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
project=$PWD

say() { echo "test-containers: $*" >&2; }

if ! command -v podman >/dev/null; then
    say "left out: podman is not on the PATH."
    exit 0
fi

if [ "$(id -u)" = 0 ]; then
    user=podman-test
    useradd --create-home "$user"
    runtime=$(mktemp -d)
    chown "$user" "$runtime"
    as_user() { runuser -u "$user" -- env HOME="/home/$user" USER="$user" XDG_RUNTIME_DIR="$runtime" "$@"; }
    clean_up() {
        as_user podman system reset --force >/dev/null 2>&1 || true
        userdel --remove "$user" 2>/dev/null || true
        rm -rf "$runtime"
    }
    trap clean_up EXIT
    # An image that only root has, such as one for BASE_IMAGE.
    for option in "$@"; do
        base=${option#BASE_IMAGE=}
        if [ "$base" != "$option" ] && podman image exists "$base"; then
            podman save "$base" | as_user podman load --quiet >/dev/null
        fi
    done
    as_user env STORAGE_DRIVER=overlay "$project/tests/integration/containers.sh" "$@"
    exit
fi

say "building the image"
containers/build.sh cpu "$@"
image=$(sed -n "s/.*'\([^' ]*-cpu\)'.*/\1/p" conf/containers.config)

say "looking into it"
podman run --rm --userns=keep-id --read-only "$image" bash -euc '
    command -v ps >/dev/null
    [ "$(id -u)" != 0 ]
    ! touch /opt/cellmemory/written 2>/dev/null
    python3 -c "import anndata, gseapy, lightning, scanpy, torch, umap"
    # A script in the image would be taken instead of the pipeline'"'"'s own of the same name.
    ! command -v train.py map_query.py report.py
'
[ "$(podman image inspect --format '{{.Config.User}}' "$image")" = cellmemory ]

say "running the pipeline"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo "podman.runOptions = '--userns=keep-id -u \$(id -u):\$(id -g) --read-only'" >read-only.config
# The environment of the host must not help: no bin/ of it is on the containers' PATH.
"$project/.venv/bin/nextflow" run "$project" -profile test,podman -c read-only.config -ansi-log false

"$project/.venv/bin/python" - <<'PYTHON'
import csv
import json
from pathlib import Path

trace = list(csv.DictReader(open("results/pipeline_info/execution_trace.tsv"), delimiter="\t"))
assert trace, "the trace has no task"
assert {task["status"] for task in trace} == {"COMPLETED"}, trace
commands = [path.read_text() for path in Path("work").glob("*/*/.command.run")]
assert len(commands) == len(trace)
assert all("podman run" in text and "--read-only" in text for text in commands)
metrics = json.loads(Path("results/samples/reduced_panel/reduced_panel.metrics.json").read_text())
assert metrics["accuracy"] > 0.75, metrics["accuracy"]
versions = Path("results/pipeline_info/versions.yml").read_text()
print(f"test-containers: passed, {len(trace)} tasks; accuracy {metrics['accuracy']:.3f}")
PYTHON
