#!/usr/bin/env bash
# All tests: the modules' by nf-test where it is installed, then pytest's, which drive the whole pipeline too.
# Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if command -v nf-test >/dev/null; then
    nf-test test modules tests/default.nf.test
else
    echo "nf-test is not on the PATH: the modules' own tests (modules/*/tests) are left out." >&2
fi
if ! command -v chromedriver >/dev/null; then
    echo "chromedriver is not on the PATH (on Debian: apt-get install chromium chromium-driver): the tests of the report in a browser are left out." >&2
fi
echo "Tests that need a GPU are left out (make test-cuda), and two thirds of the corpus of odd results (make test-corpus)." >&2
# On the CPU alone, wherever this runs. Three side by side, which keep two cores busy: a run of the pipeline waits a third of its
# time. A file at a time: tests of one file share what is made for them, a run of the pipeline among it. In the order of
# tests/conftest.py: long files are not left for the end.
CUDA_VISIBLE_DEVICES= exec pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not cuda and not corpus" "$@"
