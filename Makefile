# Every target sets itself up: `make demo` on a fresh machine needs python3 (3.11 or newer) and pip.
#
#   make demo TORCH="torch==2.13.0 --index-url <your index>"    another build of torch
#   make test PYTEST_ARGS="-k cache -x" WORKERS=4               some tests, more workers

PYTHON ?= python3
TORCH ?= torch==2.13.0
WORKERS ?= 2
PYTEST_ARGS ?=
DEMO_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
CODE := nfd_env agents world_model benchmarks tests

# One BLAS thread per test worker: more would fight over the same cores.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.PHONY: help demo test lint docs format clean
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## the whole loop in minutes: imagine, train an agent, play the real game
	$(BIN)/nfd demo $(DEMO_ARGS)

test: $(VENV)/.installed  ## all tests
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

lint: $(VENV)/.installed  ## ruff (rules and layout) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs  ## the documentation as web pages, in docs/_build
	$(BIN)/python -m sphinx -b html -W --keep-going docs docs/_build

format: $(VENV)/.installed  ## let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the virtual environment, caches and build folders; never data or runs
	rm -rf $(VENV) build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

# `.installing` marks a set-up under way. Where one was cut short, packages may be half there
# and look whole to pip, so the next call starts over (pip keeps its downloads).
$(VENV)/.installed: pyproject.toml
	@if [ -e $(VENV)/.installing ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		echo "setting up $(VENV)"; $(PYTHON) -m venv --clear $(VENV); fi
	@touch $(VENV)/.installing
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install $(TORCH)
	$(BIN)/python -m pip install --quiet -e ".[doom,report,dev]"
	@rm $(VENV)/.installing
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	@touch $@
