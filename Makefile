# Each target sets up what it needs in .venv on first use; afterwards it starts at once.
#   make demo              VENV=/elsewhere make test              make test ARGS="-k attention -x"

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
N      ?= 10
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
STAMP  := $(VENV)/.installed

# The work is on two cores and many small tensors: one thread a process, several processes.
test fuzz parity: export OMP_NUM_THREADS = 1

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz lint format type parity bench bench-engines docs clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-13s %s\n", $$1, $$2 }'

demo: $(STAMP)-demo  ## nine tasks answered offline by toy checkpoints; then a look inside a real one
	@$(BIN)/minitransformer demo

test: $(STAMP)-test  ## all tests (ARGS="-k name -x" goes to pytest)
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

fuzz: $(STAMP)-test  ## attack the library for 10 minutes, or N (see docs/security.md)
	@PYTHONPATH=tests $(BIN)/python -m fuzz --minutes $(N) $(ARGS)

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

docs: $(STAMP)-docs  ## build the documentation in site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

clean:  ## remove what was built, .venv included
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
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
