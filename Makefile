# Two commands do everything: `make demo` and `make test`. Both make .venv when it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

LOWEST := .venv-lowest
# The tests start some two hundred processes, each of which would compile the package anew where the environment forbids to keep that.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -q -n auto --dist worksteal

.PHONY: demo test lint types unit whole test-lowest format docs clean

demo: $(VENV)/.installed
	$(BIN)/assay demo --out assay-demo

test: lint types whole

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check src tests
	$(BIN)/ruff check src tests

types: $(VENV)/.installed-dev
	$(BIN)/mypy

# Rooms from core to report, and the contracts: for while one works.
unit: $(VENV)/.installed-dev
	$(PYTEST) tests/test_house.py $(addprefix tests/,core stats data models explain attack measure bounds tune report contracts)

whole: $(VENV)/.installed-dev
	$(PYTEST)

# The same tests with the lowest versions that pyproject.toml allows; what these warn of in each other is not ours.
test-lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/python -m pytest -q -n auto -W ignore::DeprecationWarning -W ignore::PendingDeprecationWarning

$(LOWEST)/.installed: pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --editable ".[dev]"
	touch $@

format: $(VENV)/.installed-dev
	$(BIN)/ruff format src tests
	$(BIN)/ruff check --fix src tests

docs: $(VENV)/.installed-dev
	$(BIN)/pip install --quiet -e ".[docs]"
	$(BIN)/mkdocs build --strict

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Assay needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "Installing Assay and what it needs into $(VENV): once, one to five minutes, mostly PyTorch"
	$(BIN)/python -m pip install --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) $(LOWEST) assay-demo .mypy_cache .ruff_cache .pytest_cache
