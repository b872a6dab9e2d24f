# `make demo`: a run on real cells, to a finished report. `make test`: all tests. Both set up what they need first.
.PHONY: setup demo test nf-test test-corpus fuzz kills test-cuda test-containers test-slurm test-galaxy galaxy-package images lint lint-nf-core docs lock bench bench-accuracy bench-ablations clean

# For `make demo ARGS=-resume` and the like.
ARGS ?=
PYTEST_ARGS ?=
BUILD_ARGS ?=
run = . .venv/bin/activate &&

setup:
	@scripts/setup.sh

demo: setup
	@$(run) nextflow run . -profile test $(ARGS)

test:
	@scripts/setup.sh test lint
	@$(run) scripts/test.sh $(PYTEST_ARGS)

# The tests of the modules and of the whole workflow, which `make test` also runs where nf-test is on the PATH.
nf-test: setup
	@$(run) nf-test test modules tests/default.nf.test $(ARGS)

# What is promised of odd inputs (docs/reliability.md): files made by code, files damaged at random, kills at random moments.
test-corpus:
	@scripts/setup.sh test
	@$(run) pytest tests/corpus $(PYTEST_ARGS)
	@$(run) PYTHONPATH=bin:. python -m tests.corpus

fuzz:
	@scripts/setup.sh test
	@$(run) PYTHONPATH=bin:. python -m tests.corpus.fuzz $(ARGS)

kills:
	@scripts/setup.sh test
	@$(run) PYTHONPATH=bin:. python -m tests.corpus.kills $(ARGS)

# What runs on a GPU; each test is skipped where torch finds none.
test-cuda:
	@scripts/setup.sh test
	@$(run) pytest -m cuda -ra $(PYTEST_ARGS) tests/network/test_cuda.py

# The test profile in our own image by podman, and on a Slurm of one node: each is left out, with a word, where it cannot be.
test-containers: setup
	@tests/integration/containers.sh $(BUILD_ARGS)

test-slurm: setup
	@tests/integration/slurm.sh

# The tests of the Galaxy tools and of the workflow, in a real Galaxy server on this machine alone.
test-galaxy:
	@scripts/setup.sh galaxy
	@$(run) PYTHONPATH=bin:. python -m tests.made.galaxy_data galaxy/tools/cellmemory/test-data
	@.tools/galaxy/bin/python tests/integration/galaxy_tools.py $(ARGS)

# The tools and the workflow as a server, a tool shed or planemo takes them: without links, with their test data, in dist/galaxy.
galaxy-package:
	@scripts/setup.sh
	@$(run) PYTHONPATH=bin:. python -m tests.made.galaxy_data galaxy/tools/cellmemory/test-data
	@rm -rf dist/galaxy && mkdir -p dist && cp -rL galaxy dist/galaxy
	@find dist/galaxy -name __pycache__ -prune -exec rm -r {} +

# The container images, by podman or docker. BUILD_ARGS go to its build.
images:
	@containers/build.sh cpu $(BUILD_ARGS)
	@containers/build.sh cuda $(BUILD_ARGS)

lint:
	@scripts/setup.sh test lint
	@$(run) ruff check . && ruff format --check . && mypy && scripts/lint-nextflow.sh

# nf-core's linter, which needs a network; .nf-core.yml says what it leaves out, and which version of it is meant.
lint-nf-core: setup
	@$(run) .tools/uv/bin/uv tool run --from "nf-core==$$(sed -n 's/^nf_core_version: //p' .nf-core.yml)" nf-core pipelines lint

# The pages as a site, in site/. A link or an anchor that leads nowhere is an error.
docs:
	@scripts/setup.sh docs
	@$(run) NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

# docs/performance.md, measured anew: an hour on a quiet machine, and 8 GB of disk for a million cells.
bench:
	@scripts/setup.sh
	@$(run) benchmarks/throughput.py && benchmarks/scale.py && benchmarks/performance.py

# docs/accuracy.md, measured anew: hours. A stopped run goes on where it was; work in progress is in benchmarks/work.
bench-accuracy:
	@scripts/setup.sh bench
	@$(run) benchmarks/accuracy.py splits crossval curves novelty integration summarise

# docs/decisions.md, measured anew.
bench-ablations:
	@scripts/setup.sh test
	@$(run) benchmarks/doubt.py && benchmarks/doublets.py && benchmarks/ablations.py views genes faithfulness hormones slots page

# Exact versions for pyproject.toml's requirements. The extras hold the same versions as the runtime; only the peers of
# the benchmark need an older scikit-learn.
lock: setup
	@for extra in runtime test docs integration bench; do \
	    grep -v "^scikit-learn==" requirements/runtime.lock >.tools/for-bench.txt; \
	    case $$extra in \
	        runtime) options= ;; \
	        bench) options="--extra bench --constraint .tools/for-bench.txt" ;; \
	        *) options="--extra $$extra --constraint requirements/runtime.lock" ;; \
	    esac; \
	    .tools/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header \
	        $$options pyproject.toml --output-file requirements/$$extra.lock || exit 1; \
	done

clean:
	@rm -rf site work results .nextflow .nextflow.log* .nf-test .nf-test.log
