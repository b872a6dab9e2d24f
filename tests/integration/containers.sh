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
    as_user() {
        runuser -u "$user" -- env HOME="/home/$user" USER="$user" XDG_RUNTIME_DIR="$runtime" STORAGE_DRIVER=overlay \
            NXF_HOME="/home/$user/.nextflow" "$@"
    }
    clean_up() {
        # The second ends the process that keeps the user's name space.
        as_user podman system reset --force >/dev/null 2>&1 || true
        as_user podman system migrate >/dev/null 2>&1 || true
        userdel --force --remove "$user" 2>/dev/null || true
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
    as_user "$project/tests/integration/containers.sh" "$@"
    exit
fi

say "building the image"
containers/build.sh cpu "$@"
image=$(sed -n "s/.*'\([^' ]*-cpu\)'.*/\1/p" conf/containers.config)

say "looking into it"
podman run --rm --userns=keep-id -u "$(id -u):$(id -g)" --read-only "$image" bash -euc '
    command -v ps >/dev/null
    [ "$(id -u)" != 0 ]
    # A script in the image would be taken instead of the pipeline'"'"'s own of the same name.
    if touch /opt/cellmemory/written 2>/dev/null || command -v train.py map_query.py report.py; then exit 1; fi
    python3 -c "import anndata, gseapy, igraph, lightning, torch, umap"
'
[ "$(podman image inspect --format '{{.Config.User}}' "$image")" = cellmemory ]

say "running the pipeline"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo "podman.runOptions = '--userns=keep-id -u \$(id -u):\$(id -g) --read-only'" >read-only.config
"$project/.venv/bin/nextflow" run "$project" -profile test,podman -c read-only.config -ansi-log false

# By the image's Python: the user may not be allowed to read the one of the set-up.
podman run --rm --interactive --userns=keep-id -u "$(id -u):$(id -g)" -v "$folder:$folder" -w "$folder" "$image" python3 - <<'PYTHON'
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
print(f"test-containers: passed, {len(trace)} tasks; accuracy {metrics['accuracy']:.3f}")
PYTHON
