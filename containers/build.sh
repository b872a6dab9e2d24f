#!/usr/bin/env bash
# Builds an image under the name that conf/containers.config gives it:
#
#     containers/build.sh cpu|cuda [options of the engine's build, such as --build-arg BASE_IMAGE=...]
#
# The engine is podman or docker, whichever there is, or ENGINE.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kind=${1:?cpu or cuda}
shift
engine=${ENGINE:-$(command -v podman || command -v docker)} || {
    echo "build: neither podman nor docker is on the PATH." >&2
    exit 1
}
name=$(sed -n "s/.*'\([^' ]*-$kind\)'.*/\1/p" conf/containers.config)
version=$(sed -n "s/^    version = '\(.*\)'$/\1/p" nextflow.config)
uv_version=$(sed -n 's/^uv_version=//p' scripts/setup.sh)

"$engine" build --file "containers/$kind/Containerfile" --tag "$name" \
    --build-arg "VERSION=$version" --build-arg "UV_VERSION=$uv_version" "$@" .
"$engine" image inspect --format "$name {{.Size}} bytes" "$name"
