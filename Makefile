# Everything runs in .venv, which is made from pyproject.toml and constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= demo-out
CASES ?= ../shared/data/cases.csv

.PHONY: demo test test-all check bench

# The stamp's name carries the extras that are in, so that each target installs what it needs once.
.venv/%.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[$*]'
	touch $@

demo: .venv/demo.stamp
	$(BIN)/coincide demo --out $(OUT)

test: .venv/dev.stamp
	$(BIN)/python -m pytest

test-all: .venv/dev.stamp .venv/demo.stamp .venv/bench.stamp
	$(BIN)/python -m pytest -m ''

check: .venv/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: .venv/bench.stamp
	$(BIN)/python -m benchmarks.run --cases $(CASES) --repeats 3
