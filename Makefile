# `make demo`: a run on real cells, to a finished report. `make test`: all tests. Both set up what they need first.
.PHONY: setup demo test lint lock clean

# For `make demo ARGS=-resume` and the like.
ARGS ?=
PYTEST_ARGS ?=
run = . .venv/bin/activate &&

setup:
	@scripts/setup.sh

demo: setup
	@$(run) nextflow run . -profile test $(ARGS)

test:
	@scripts/setup.sh test lint
	@$(run) scripts/test.sh $(PYTEST_ARGS)

lint:
	@scripts/setup.sh test lint
	@$(run) ruff check . && ruff format --check . && scripts/lint-nextflow.sh

# Exact versions for pyproject.toml's requirements; the extras hold the same versions as the runtime.
lock: setup
	@for extra in runtime test bench; do \
	    .tools/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-annotate \
	        --custom-compile-command "make lock" \
	        $$([ $$extra = runtime ] || echo "--extra $$extra --constraint requirements/runtime.lock") \
	        pyproject.toml --output-file requirements/$$extra.lock || exit 1; \
	done

clean:
	@rm -rf work results .nextflow .nextflow.log* .nf-test .nf-test.log
