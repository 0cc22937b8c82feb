PYTHON ?= python3

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PIP    := $(BIN)/python -m pip --disable-pip-version-check -qq
# One thread a worker: the workers already fill the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quiet --numprocesses auto --maxprocesses 8 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: demo test test-all lint types format clean help

demo: $(STAMP)  ## Train the example on handwritten digits
	$(BIN)/python examples/digits.py

test: $(STAMP)  ## Run the tests, without the slow ones
	$(PYTEST)

test-all: $(STAMP)  ## Run every test
	$(PYTEST) -m ""

lint: $(STAMP)  ## Check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(STAMP)  ## Check the types
	$(BIN)/pyright

format: $(STAMP)  ## Fix what can be fixed, then format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:  ## Remove the environment, the caches and everything built
	rm -rf $(VENV) build dist examples/output .hypothesis .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# torch goes first and alone, so that a local build of the pinned version is taken where there is one.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("optlayers needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt torch
	$(PIP) install -c constraints.txt -e ".[dev]"
	@touch $@
