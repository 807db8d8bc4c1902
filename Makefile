# One verb each. A fresh machine needs Python >= 3.11 and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
# What old versions warn of is the past; and an old hypothesis knows nothing of a garbage collector that is told to pass.
OLD := -W ignore::DeprecationWarning -W ignore::hypothesis.errors.HypothesisWarning

.PHONY: run test test-oldest soak lint audit sbom bench gpu docs clean

run: .venv/ready  ## train the CGAN on the embedded MNIST
	$(BIN)/ganzoo run cgan --epochs 20 --max-time 4m30s

test: .venv/ready-dev  ## the whole test suite
	$(BIN)/python -m pytest -n 2

test-oldest: .venv-oldest/ready  ## the same with the oldest versions that pyproject.toml allows
	.venv-oldest/bin/python -m pytest -n 2 $(OLD)

soak: .venv/ready-dev  ## the long form: a hundred kills, thousands of bad inputs, half an hour of memory
	GANZOO_SOAK=1 $(BIN)/python -m pytest tests/test_fuzz.py tests/test_fuzz_doors.py
	$(BIN)/python -m pytest tests/soak.py
	$(BIN)/python -m pytest benchmarks/soak_models.py

lint: .venv/ready-dev  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

audit: .venv/ready  ## known faults of what is installed; asks a public service
	$(BIN)/pip install --quiet --disable-pip-version-check 'pip-audit>=2.7'
	$(BIN)/pip-audit --strict --skip-editable || { \
	echo 'audit: not passed. If "not found on PyPI": its service does not answer here, and nothing was looked up' >&2; \
	exit 1; }

sbom: .venv/ready  ## sbom.json: what is installed, as CycloneDX
	$(BIN)/pip install --quiet --disable-pip-version-check 'cyclonedx-bom>=7'
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --mc-type library --output-reproducible -o sbom.json $(BIN)/python

bench: .venv/ready-dev  ## speed, start-up and memory on this machine; BENCH='--seconds 2' and the like make it shorter
	mkdir -p benchmarks/results
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-json benchmarks/results/latest.json $(BENCH)

gpu: .venv/ready-dev  ## what a GPU does with every model, in at most eight minutes; GPU='--seconds 120' makes it shorter
	$(BIN)/python -m ganzoo.speed.gpu --out benchmarks/results/gpu $(GPU)

docs: .venv/ready-dev  ## the pages that follow from the code, and all pages as a site, in site/
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

clean:
	rm -rf .venv .venv-oldest sbom.json build site *.egg-info .pytest_cache .mypy_cache .ruff_cache

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

.venv-oldest/ready: pyproject.toml tests/oldest.py
	$(PYTHON) -m venv .venv-oldest
	$(PYTHON) tests/oldest.py > .venv-oldest/versions.txt
	.venv-oldest/bin/pip install --quiet --disable-pip-version-check --requirement .venv-oldest/versions.txt
	.venv-oldest/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
