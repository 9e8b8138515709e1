# What a fresh machine needs is Python 3.10 or newer with venv, and make. Everything else lands in .venv.
PYTHON ?= python3
BIN := .venv/bin
TIME ?= 4m
WORKERS ?= 2

.PHONY: demo test test-slow lint docs clean

# A whole run on the handwritten digits that scikit-learn ships: no download, about 5 minutes on two cores.
demo: .venv/train.stamp
	rm -rf runs/demo
	$(BIN)/ghostfit fit digits --latency-ms 1 --no-flip --time $(TIME) --out runs/demo
	@echo "report to open: $(CURDIR)/runs/demo/report.html"
	@echo "compare it:     $(BIN)/ghostfit bench runs/demo presets"

# A test runs on one thread, so there is one worker a core.
test: lint
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m "not slow and not gpu"

# Long trainings, every preset, and real data where it is found (GHOSTFIT_DATA names its folder).
test-slow: .venv/dev.stamp
	$(BIN)/pip install -q -e '.[weights]'
	$(BIN)/pytest -m "slow and not gpu"

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The tables of arguments in docs/commands, from the configurations.
docs: .venv/train.stamp
	$(BIN)/python docs/flags.py

clean:
	rm -rf .venv runs build dist .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -m venv .venv

# Stamps: an installation is repeated when pyproject.toml changes, and only then.
.venv/train.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/pip install -e '.[train]'
	touch $@

.venv/dev.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/pip install -e '.[train,dev]'
	touch $@ .venv/train.stamp
