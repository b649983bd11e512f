# The two commands of the README: make demo, make test. Both make the environment first.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
# Files of tests that run at a time, one math thread and up to 2 GB each.
TEST_PROCESSES ?= 2

.PHONY: help env demo test lint format dag status slurm-env slurm-demo clean

help: ## show these lines
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

env: $(VENV)/.ready ## make the pinned environment in .venv

# torch first and by pip, with its companions pinned, so that nothing later can replace it;
# the rest by uv, which resolves and unpacks in seconds. The package itself last, as it lies here: it
# can be imported, and the command spinegrade is there.
$(VENV)/.ready: requirements.txt requirements-dev.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on the PATH: install Python 3.11 or name another with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements-dev.txt uv torch torchvision
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements-dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: env ## run the main job on the embedded lumbar phantom cohort
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/snakemake --cores $(CORES) --resources gpu=2

test: env ## lint, then all tests
	$(MAKE) --no-print-directory lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

format: env ## format Python and Snakemake files in place
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

dag: env ## draw the rule graph and the job graph
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/snakemake --cores 1 draw_dag

status: env ## how far each job of the newest run is
	$(BIN)/python scripts/tools/status.py

slurm-env: env ## add the executor for SLURM clusters to the environment
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements-slurm.txt

slurm-demo: slurm-env ## the same as demo, through a SLURM of one node that is started for it
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python tests/slurm/throwaway.py --gpus 2 -- \
		snakemake --workflow-profile profiles/slurm

clean: ## remove results, keep the environment
	rm -rf results .snakemake
