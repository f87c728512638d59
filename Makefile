# The words for working on mematte. CI runs `make test` and `make check`, nothing else.
# `make` alone prints them. Every target sets up what it needs.

PYTHON ?= python3
RECIPE ?= recipes/tiny_teacher_cpu.py
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test check bench train docs clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## Create .venv with the exact versions of constraints.txt

# pip writes the stamp only when all of it succeeded, so a broken set-up is tried again.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "mematte needs Python 3.10 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: setup ## Matte the cat and the astronaut into demo/out/
	$(BIN)/python demo/run.py

test: setup ## Run the tests
	$(BIN)/python -m pytest

check: setup ## Lint, formatting, types, import layers, and that the docs are true
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy src demo docs $(wildcard recipes/*.py)
	$(BIN)/lint-imports
	$(BIN)/python docs/build.py --check

bench: setup ## Seconds and peak memory beside the peers
	$(BIN)/mematte bench speed
	$(BIN)/mematte bench memory

train: setup ## Train: make train RECIPE=recipes/NAME.py SETTINGS="foregrounds=DIR backgrounds=DIR"
	$(BIN)/mematte train $(RECIPE) $(SETTINGS)

docs: setup ## Rewrite docs/cli.md from the commands' own help
	$(BIN)/python docs/build.py

clean: ## Remove everything that the other targets made
	rm -rf .venv build dist demo/out .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests demo docs recipes -name __pycache__ -type d -prune -exec rm -rf {} +
