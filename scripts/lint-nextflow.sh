#!/usr/bin/env bash
# The strict linter over all that is ours. nf-test's own files are Groovy of another kind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
NXF_VER=25.04.0 scripts/nextflow lint -o concise main.nf nextflow.config conf functions modules subworkflows workflows tests/including
