# The commands of the README. Every target does its own set-up in .venv; PYTHON=... chooses the interpreter it is made with.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
TESTS ?= tests

.PHONY: setup dev run demo test lint bench faults

setup: .venv/.runtime
dev: .venv/.dev

.venv/.runtime: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "FluxGym needs Python 3.11 or newer; choose one with make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	touch $@

.venv/.dev: .venv/.runtime requirements-dev.txt requirements-optimizers.txt requirements-lycoris.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	touch $@

run: setup
	$(BIN)/python app.py $(ARGS)

demo: setup
	$(BIN)/python -m fluxgym demo $(ARGS)

test: dev
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(TESTS)

lint: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: dev
	$(BIN)/python -m bench $(ARGS)

faults: dev
	$(BIN)/python -m tests.faults $(ARGS)
