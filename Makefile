# Nothing is needed but make, Python 3.10 or newer (with venv) and a package index.
# Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help demo test test-all lint types gate wheel coverage gpu install
help:
	@echo 'make demo   a teacher becomes a small int8 student, with a table at the end (minutes on two cores)'
	@echo 'make test   the quick tests'
	@echo 'make test-all  all tests: also those of browsers, images, documents and processes, which are slow'
	@echo 'make lint   ruff: rules and formatting; shellcheck, hadolint and actionlint where they are installed'
	@echo 'make types  mypy'
	@echo 'make gate   distill, export, quantize and measure; fails where the student got worse or slower'
	@echo 'make gpu    the tests marked gpu and the benchmark of the GPU, in nine minutes; writes gpu.json'
	@echo 'make coverage  the tests, and the lines that they reach'
	@echo 'make wheel  the wheel, in an environment of its own (after the gate, whose bundle it uses)'

demo: $(VENV)/.train
	$(BIN)/kdcompress demo

# What a check is, is written in .ci/check alone: images and workflows call it too.
test test-all lint types gate wheel coverage: $(VENV)/.dev
	BIN=$(BIN) .ci/check $@

gpu: $(VENV)/.dev
	$(BIN)/python tests/benchmarks/gpu.py --out gpu.json

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
