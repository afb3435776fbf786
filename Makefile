# Quantum Platform: `make help` lists what can be done.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Bytecode is kept, whatever the shell says: processes of the platform, of tests start far oftener than the code changes.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help venv demo demo-full up test test-services test-scale chaos mutants bench bench-peers bench-growth bench-relay bench-makespan check fmt lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP) ## Make .venv from the pinned versions of requirements.lock

$(STAMP): requirements.lock setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: venv ## Show the main job end to end, with things broken on purpose, then repaired
	$(BIN)/quantum demo

demo-full: venv ## The same with the longer shows
	$(BIN)/quantum demo --full

up: venv ## Run the whole platform until Ctrl-C
	$(BIN)/quantum up

test: venv ## Run every test that needs Python only (embedded servers; under 10 minutes)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15 --durations-min=5 -m "not services and not scale"

test-services: venv ## Run what needs servers from apt: PostgreSQL 15, RabbitMQ
	$(BIN)/python -m tests.services

chaos: venv ## Kill, freeze, flush everything at random moments while work goes through (SEED=n ROUNDS=n MINUTES=n BROKER=rabbitmq FAULTS=words)
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(BROKER),--broker $(BROKER)) $(if $(FAULTS),--faults $(FAULTS))

test-scale: venv ## Run what takes minutes: plans beside a million runs
	$(BIN)/python -m pytest -m scale

mutants: venv ## Break the code on purpose: each mutant must be killed by its test
	$(BIN)/python -m tests.mutants

bench: venv ## Measure against bare Celery and a ceiling; writes bench/out/latest.json
	$(BIN)/python -m bench

bench-peers: venv ## Install dramatiq, DBOS, procrastinate beside us, each in an environment of its own, for `make bench`
	$(BIN)/python -m bench.peers

bench-growth: venv ## Measure beside 10^4, 10^5, 10^6 finished runs
	$(BIN)/python -m bench --growth

bench-relay: venv ## Events a second of the relay beside each sink's bare ceiling (RabbitMQ where it is installed)
	$(BIN)/python -m bench.relay

bench-makespan: venv ## Recorded workflows (WFINSTANCES=folder) on eight slots beside a scheduler without overhead
	$(BIN)/python -m bench.makespan $(WFINSTANCES)

check: venv ## Run every static check: lint, types, imports, house rules, schema, API, containers, documents
	$(BIN)/python -m checks

fmt: venv ## Format the code, mend what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: venv ## Resolve setup.cfg anew into requirements.lock
	$(BIN)/uv pip compile setup.cfg --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --quiet --output-file requirements.lock

clean: ## Remove the state, the virtual environment, the caches
	@if test -x $(BIN)/quantum; then $(BIN)/quantum clean; fi
	rm -rf $(VENV) .quantum .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache bench/out build dist
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -rf *.egg-info
