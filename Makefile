# embedstore: `make demo` and `make test` are all a newcomer needs; each sets up .venv when it is missing or old.
# PYTHON=python3.12 chooses the interpreter, INSTALL_ARGS="..." is handed to the installer (uv or pip).

PYTHON ?= python3
VENV ?= .venv
INSTALL_ARGS ?=
JOBS ?= 2

BIN := $(VENV)/bin
STAMP := $(VENV)/.embedstore-installed
PLUGINS := $(sort $(wildcard plugins/embedstore-*))
MANIFESTS := pyproject.toml $(addsuffix /pyproject.toml,$(PLUGINS))

.PHONY: help setup demo test check docs wheel clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    the whole story on real and synthetic images (sets up $(VENV) first)"
	@echo "make test    the test suite (sets up $(VENV) first)"
	@echo "make check   lint, types, import contracts, generated docs"
	@echo "make setup   create $(VENV) with embedstore, its plugins and the development tools"
	@echo "make docs    regenerate docs/reference"
	@echo "make wheel   build embedstore and its plugins into dist/"
	@echo "make clean   remove build products (never $(VENV) nor a store)"

setup: $(STAMP)

$(STAMP): $(MANIFESTS) tools/setup.sh
	@bash tools/setup.sh "$(PYTHON)" "$(VENV)" $(INSTALL_ARGS)
	@touch $@

demo: setup
	$(BIN)/embedstore demo

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --durations 15

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python docs/generate.py --check

docs: setup
	$(BIN)/python docs/generate.py

wheel: setup
	rm -rf build dist $(addsuffix /build,$(PLUGINS))
	for project in . $(PLUGINS); do $(BIN)/python -m build --wheel --outdir dist $$project || exit; done

clean:
	rm -rf build dist $(addsuffix /build,$(PLUGINS)) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov
