# CryoPPP Annotator. `make run` and `make test` do all set-up themselves; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# More words for a target's program, e.g.  make run ARGS="--seed 3"  or  make test-fast ARGS="-k undo".
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help run test test-fast lint types format bench clean distclean setup system-run system-test

help: ## show this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: setup ## open the demo: simulated micrographs with known truth (no display: a virtual one and a screenshot)
	@.ci/demo $(ARGS)

test: system-test $(READY) ## everything that must hold before a change is handed in
	@.ci/test $(ARGS)

test-fast: setup ## the tests without windows and without the slow ones, stop at the first failure
	@$(BIN)/python -m pytest -x -q -m "not gui and not slow" $(ARGS)

lint: setup ## style, import directions, napari manifest
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/npe2 validate cryoppp_annotator/napari.yaml

types: setup ## static types (strict below gui)
	@$(BIN)/mypy

format: setup ## put the sources into the house's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup ## speed of the window against its goals
	@.ci/with-display $(BIN)/python benchmarks/window.py $(ARGS)

clean: ## remove what was built and cached
	rm -rf build dist run-output .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -path './.venv*' -prune -o -type d -name __pycache__ -print0 | xargs -0 rm -rf

distclean: clean ## also remove the Python environments
	rm -rf .venv .venv-*

setup: system-run $(READY)

system-run:
	@.ci/system-packages run

system-test:
	@.ci/system-packages test

# The environments are made anew where pyproject.toml (what to install) or the script that installs it has changed.
# Order-only: the system's packages come first, because Debian's Python cannot make an environment without python3-venv.
PLUGINS := $(wildcard plugins/*/pyproject.toml)
$(READY): pyproject.toml $(PLUGINS) .ci/environment | system-run
	@.ci/environment $(VENV) pyqt5,dev

.venv-pyqt6/.ready: $(READY) .ci/environment-qt6
	@.ci/environment-qt6 .venv-pyqt6 'PyQt6>=6.6'

# as in pyproject.toml
.venv-pyside6/.ready: $(READY) .ci/environment-qt6
	@.ci/environment-qt6 .venv-pyside6 'PySide6-Essentials>=6.7,<6.12'
