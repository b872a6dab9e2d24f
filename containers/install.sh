#!/bin/sh
# In an image under construction: the packages of the lock in /opt/cellmemory.
# TORCH_BACKEND is uv's name of a build of torch (cpu, cu126, ...); empty takes the one that the lock was made for,
# which carries CUDA libraries.
set -eu

apt-get update
apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv
python3 -m venv /opt/uv
/opt/uv/bin/pip install --disable-pip-version-check --no-cache-dir "uv==$UV_VERSION"

cd /build
if [ -n "$TORCH_BACKEND" ]; then
    # These are libraries of the lock's CUDA; another build brings its own, or needs none.
    grep -Ev '^(nvidia-|cuda-|triton=)' runtime.lock >packages.lock
    set -- --torch-backend "$TORCH_BACKEND" --requirements packages.lock
else
    set -- --requirements runtime.lock
fi

# A site's own certificates are those of its base image.
export UV_SYSTEM_CERTS=true UV_NO_CACHE=true UV_LINK_MODE=copy
/opt/uv/bin/uv venv --python python3 /opt/cellmemory
VIRTUAL_ENV=/opt/cellmemory /opt/uv/bin/uv pip install --compile-bytecode "$@"
# Headers, static libraries and the packages' own tests, which no run reads.
find /opt/cellmemory -type d \( -name include -path '*/nvidia/*' -o -path '*/torch/include' \) -prune -exec rm -rf {} +
find /opt/cellmemory -name '*.a' -delete
