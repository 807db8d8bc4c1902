# One verb each. A fresh machine needs Python >= 3.11 and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test lint bench docs clean

run: .venv/ready  ## train the CGAN on the embedded MNIST
	$(BIN)/ganzoo run cgan

test: .venv/ready-dev  ## the whole test suite
	$(BIN)/python -m pytest -n 2

lint: .venv/ready-dev  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/ready-dev  ## throughput on this machine
	$(BIN)/python -m pytest benchmarks --benchmark-only

docs: .venv/ready-dev  ## the pages that follow from the code: models, hooks, commands
	$(BIN)/python docs/generate.py

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache

.venv/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ganzoo needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	touch $@

.venv/ready: .venv/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/ready-dev: .venv/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ .venv/ready
