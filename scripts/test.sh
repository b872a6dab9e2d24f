#!/usr/bin/env bash
# All tests: the modules' by nf-test where it is installed, then pytest's, which drive the whole pipeline too.
# Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if command -v nf-test >/dev/null; then
    nf-test test
else
    echo "nf-test is not on the PATH: the modules' own tests (modules/*/tests) are left out." >&2
fi
# Two side by side: the tests of the pipeline are one group, since they share a run; all others go to the other one.
exec pytest -n 2 --dist loadgroup "$@"
