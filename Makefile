# Nothing is needed but make, Python 3.10 or newer (with venv) and a package index.
# Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help demo test lint types install
help:
	@echo 'make demo   a teacher becomes a small int8 student, with a table at the end (minutes on two cores)'
	@echo 'make test   the tests'
	@echo 'make lint   ruff: rules and formatting'
	@echo 'make types  mypy'

demo: $(VENV)/.train
	$(BIN)/kdcompress demo

# One thread a process: the tests share the cores between processes instead.
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

install: $(VENV)/.dev

# The stamps: a second call installs nothing, a changed pyproject.toml installs again.
$(VENV)/.train: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(f"{sys.executable} is Python {v}; 3.10 or newer is needed: make PYTHON=..." if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q -e '.[train]'
	@touch $@

$(VENV)/.dev: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(f"{sys.executable} is Python {v}; 3.10 or newer is needed: make PYTHON=..." if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q -e '.[dev]'
	@touch $(VENV)/.train $@
