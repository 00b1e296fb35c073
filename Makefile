# Thin targets over the `slatebench` command. Each sets the environment up by itself on first use.
#   make bench MODEL=bm25 DATASET=bundle [SEEDS=0,1,2] [BUDGET=standard] [ARGS="--set k1=1.2"]

PYTHON  ?= python3
MODEL   ?= bm25
DATASET ?= bundle
SEEDS   ?=
BUDGET  ?=
TRIALS  ?=
ARGS    ?=

VENV  := .venv
BIN   := $(VENV)/bin
READY := $(VENV)/.ready
RUN   := PYTHONSAFEPATH=1 $(BIN)/slatebench

.PHONY: help setup bench sweep leaderboard report ui latency perf docs test lint clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

setup: $(READY) ## make .venv from constraints.txt (once; about 3 GB)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11: make PYTHON=python3.11 ..."; exit 1; }
	@echo "setting up $(VENV) from constraints.txt: about 3 GB and 3 to 10 minutes, once; pip says what it is at"
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "error: $(PYTHON) can't make a virtual environment (on Debian: apt install python3-venv)"; exit 1; }
	@PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --disable-pip-version-check --editable '.[dev]' 1>&2
	@touch $@

bench: $(READY) ## run MODEL on DATASET: fit, generate, score, time, record, board
	@$(RUN) bench $(MODEL) --dataset $(DATASET) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(BUDGET),--budget $(BUDGET)) $(ARGS)

sweep: $(READY) ## search MODEL's settings on one fit (TRIALS=30); the winner is benched on test
	@$(RUN) sweep $(MODEL) --dataset $(DATASET) $(if $(TRIALS),--trials $(TRIALS)) $(if $(BUDGET),--budget $(BUDGET)) $(ARGS)

leaderboard: $(READY) ## the board of DATASET
	@$(RUN) leaderboard show --dataset $(DATASET) $(if $(BUDGET),--budget $(BUDGET)) $(ARGS)

report: $(READY) ## the board of DATASET as one offline HTML file (OUT=FILE)
	@$(RUN) leaderboard html --dataset $(DATASET) $(if $(OUT),--out $(OUT)) $(if $(BUDGET),--budget $(BUDGET)) $(ARGS)

ui: $(READY) ## the MLflow page over all runs
	@$(RUN) ui $(ARGS)

latency: $(READY) ## time MODEL (several, in quotes) on DATASET, interleaved
	@$(RUN) latency $(MODEL) --dataset $(DATASET) $(ARGS)

perf: $(READY) ## speed suites; COMPARE=FILE against an earlier one, SLATEBENCH_PERF_LARGE=1 with a million items
	@PYTHONSAFEPATH=1 $(BIN)/pytest tests/benchmarks -o addopts="--import-mode=importlib -q" --benchmark-autosave \
		--benchmark-storage=file://.benchmarks $(if $(COMPARE),--benchmark-compare=$(COMPARE)) $(ARGS)

docs: $(READY) ## the documentation as a site in site/
	@NO_MKDOCS_2_WARNING=1 PYTHONSAFEPATH=1 $(BIN)/mkdocs build --strict --quiet && echo "open site/index.html"

test: $(READY) ## the test suite, a process per core
	@PYTHONSAFEPATH=1 $(BIN)/pytest -n auto --dist loadfile $(ARGS)

lint: $(READY) ## ruff and pyright
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright --pythonpath $(BIN)/python

clean: ## remove .venv and caches (never runs)
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis *.egg-info build
