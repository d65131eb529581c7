# `make demo` and `make test` are all that a fresh clone needs: each makes its own environment first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# The file that `make demo` shares; 256 MiB made on the spot when it is empty.
FILE ?=

# How many test files run at a time. Daemons in the tests wait for one another much of the time.
JOBS ?= 2

.PHONY: help env check format test demo bench clean

help:
	@echo "make demo [FILE=path]  share a file from one daemon and get it with two others, on this machine"
	@echo "make test              everything that has to hold: format, lint, types, import contracts, tests"
	@echo "make check             the same without the tests"
	@echo "make format            let ruff format the code and fix what it can"
	@echo "make bench             the micro-benchmarks of tests/bench"
	@echo "make clean             remove the environment and every cache"

env: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary libtorrent --editable '.[interop]' \
		|| echo "make: no libtorrent for this Python; the tests that talk to it are skipped"
	touch $@

check: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict swarmd cli tests examples
	$(BIN)/lint-imports

format: env
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: check
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

demo: env
	$(BIN)/python -m tests.demo $(if $(FILE),"$(FILE)")

bench: env
	$(BIN)/python -m tests.bench

clean:
	rm -rf $(VENV) build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
