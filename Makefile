PYTHON ?= python3

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PIP    := $(BIN)/python -m pip --disable-pip-version-check -qq
# One thread a worker: the workers already fill the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quiet --numprocesses auto --maxprocesses 8 --dist worksteal

OLDEST := .venv-oldest
CORE   := $(patsubst %,tests/test_%.py,laws general_laws layer torch_internals random_sets training_constrain)

.DEFAULT_GOAL := help
.PHONY: demo test test-all test-oldest lint types format clean help

demo: $(STAMP)  ## Train the example on handwritten digits
	$(BIN)/python examples/digits.py

test: $(STAMP)  ## Run the tests, without the slow ones
	$(PYTEST)

test-all: $(STAMP)  ## Run every test
	$(PYTEST) -m ""

test-oldest:  ## Test the core on the oldest supported torch, where that installs
	@if $(MAKE) --no-print-directory $(OLDEST)/.installed; then \
	    OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest --quiet --numprocesses auto --maxprocesses 8 $(CORE); \
	else echo "Skipped: the oldest supported torch cannot be installed here."; fi

lint: $(STAMP)  ## Check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(STAMP)  ## Check the types
	$(BIN)/pyright

format: $(STAMP)  ## Fix what can be fixed, then format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:  ## Remove the environment, the caches and everything built
	rm -rf $(VENV) $(OLDEST) build dist optlayers/_core.* examples/output .hypothesis .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# torch goes first and alone, so that a local build of the pinned version is taken where there is one.
$(STAMP): pyproject.toml setup.py constraints.txt $(wildcard csrc/*)
	@$(PYTHON) -c 'import sys; sys.exit("optlayers needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt torch
	$(PIP) install -c constraints.txt -e ".[dev]"
	@touch $@

$(OLDEST)/.installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip -qq install -c constraints-oldest.txt torch
	$(OLDEST)/bin/python -m pip -qq install -c constraints-oldest.txt -e . clarabel hypothesis pytest pytest-xdist
	@touch $@
