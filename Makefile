# `make` alone lists what there is. Every target sets up what it needs.
PYTHON ?= python3
BIN := .venv/bin
PROCESSES ?= 2
DEBIAN_POSTGRES ?= /usr/lib/postgresql/15/bin
# Each process has a server of its own; on one that all share, roles and locks would meet.
SHARED_OUT = $(if $(KONGTASK_TEST_DATABASE_URL),,-n $(PROCESSES) --no-loadscope-reorder)

.DEFAULT_GOAL := help
.PHONY: help setup check format test test-debian test-long test-faults bench demo e2e image schema api lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(BIN)/.ready ## make .venv with exactly the locked packages

$(BIN)/.ready: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	touch README.md
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

check: setup ## lint, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: setup ## the test suite, on the embedded PostgreSQL
	$(BIN)/pytest $(SHARED_OUT)

test-debian: setup ## what touches the database, on Debian's PostgreSQL (apt-get install postgresql)
	KONGTASK_TEST_POSTGRES_BIN=$(DEBIAN_POSTGRES) $(BIN)/pytest \
	  tests/postgres tests/worker tests/interop tests/operator/test_operator_queue.py

test-long: setup ## what takes longer: the soak beside Node, the thorough model and fuzz runs
	KONGTASK_TEST_LONG=1 $(BIN)/pytest tests/long tests/model tests/api \
	  tests/core/test_cron_schedule.py tests/interop/test_interop_cron_rules.py

test-faults: setup ## every fault in full: processes killed, PostgreSQL restarted, networks cut
	KONGTASK_TEST_LONG=1 $(BIN)/pytest tests/faults tests/worker/test_pool_deaths.py

bench: setup ## KongTask beside other job queues, for two hours: writes docs/performance.md
	$(BIN)/python -m benchmarks

demo: setup ## a pool of workers running jobs on this machine, on an embedded PostgreSQL
	cd examples && ../$(BIN)/kongtask dev pool.yaml --add greet '{"name": "world"}' --add resize '{"image": "cat.png"}' --add flaky '{}'

e2e: setup ## end-to-end tests on Kubernetes: KUBECONFIG's cluster, else a new kind one
	bash scripts/e2e.sh

image: ## the container images kongtask-operator:dev and kongtask-worker:dev
	docker build --network host --target operator -t kongtask-operator:dev .
	docker build --network host --target worker -t kongtask-worker:dev .

schema: setup ## write sql/schema.sql anew after a migration was added
	$(BIN)/python tests/schema_catalog.py

api: setup ## write docs/api.md anew after a docstring changed
	$(BIN)/python tests/api/api_page.py

lock: setup ## write requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --all-extras --group test --group build --group lint \
	  --python-version 3.11 --universal --generate-hashes --no-header -o requirements.lock

clean: ## remove what was made
	rm -rf .venv .kongtask examples/.kongtask tests/interop/node_modules dist
