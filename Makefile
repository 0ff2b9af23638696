# Everyday commands. Each sets up what it needs; `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help demo test test-cluster test-server test-stores chaos lint format bench scaling docs wheel clean

# Where it is set, every process that is started compiles every module anew: seconds each.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
RUN := $(VENV)/bin
# Two more than there are cores: the tests of processes and sockets mostly wait.
AT_ONCE := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)

help: ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: $(VENV)/.ready ## a made-up hospital's appointments become tasks at an emulated endpoint (ARGS=--fresh starts over)
	@$(RUN)/fhir-bridge demo $(ARGS)

test: $(VENV)/.ready ## every test but the long ones, on all cores
	@$(RUN)/pytest -n $(AT_ONCE) --dist worksteal $(ARGS)

fuzz: $(VENV)/.ready ## coverage-guided fuzzing of what anybody may send, for FUZZ_SECONDS (60)
	@UV_PROJECT_ENVIRONMENT=$(VENV) $$(command -v uv || echo $(RUN)/uv) sync --frozen --quiet --inexact --group fuzz
	@mkdir -p .fuzz && $(RUN)/python -m tests.fuzz.fuzz_door -max_total_time=$${FUZZ_SECONDS:-60} -max_len=4096 -artifact_prefix=.fuzz/ .fuzz

chaos: $(VENV)/.ready ## kill -9 everywhere, 10,000 intents on both databases; writes docs/reliability.md anew
	@CHAOS_INTENTS=$${CHAOS_INTENTS:-10000} CHAOS_REPORT=docs/reliability.md \
		$(RUN)/pytest -s tests/acceptance/test_chaos.py $(ARGS)

test-cluster: $(VENV)-cluster/.ready ## the same decisions on Apache Spark, its processes killed meanwhile (PySpark is 450 MB)
	@$(VENV)-cluster/bin/pytest --timeout 900 -W ignore::pytest.PytestUnraisableExceptionWarning tests/cluster $(ARGS)

test-server: $(VENV)/.ready ## against a FHIR server that we did not write, Medplum's router (with npm; 116 MB)
	@command -v npm >/dev/null || { echo "this needs Node.js 20 or newer with npm, and there is none"; exit 1; }
	@test tests/server/node_modules -nt tests/server/package-lock.json || \
		{ npm ci --prefix tests/server --no-audit --no-fund --loglevel=error && touch tests/server/node_modules; }
	@$(RUN)/pytest tests/server $(ARGS)

test-stores: $(VENV)-stores/.ready ## against emulators of S3, Azure and Google Cloud Storage that we did not write (with npm; 250 MB)
	@command -v npm >/dev/null || { echo "this needs Node.js 20 or newer with npm, and there is none"; exit 1; }
	@test tests/stores/node_modules -nt tests/stores/package-lock.json || \
		{ npm ci --prefix tests/stores --no-audit --no-fund --loglevel=error && touch tests/stores/node_modules; }
	@$(VENV)-stores/bin/pytest tests/stores $(ARGS)

lint: $(VENV)/.ready ## style, formatting and types
	@$(RUN)/ruff check .
	@$(RUN)/ruff format --check .
	@$(RUN)/mypy

format: $(VENV)/.ready ## rewrite the code in the house's format
	@$(RUN)/ruff check --fix .
	@$(RUN)/ruff format .

bench: $(VENV)/.ready ## speed as ratios against baselines, as a table and as JSON in benchmarks/out
	@$(RUN)/python -m benchmarks $(ARGS)

scaling: $(VENV)/.ready ## what exports of three sizes need, from what a small one costs here: the tables of docs/scaling.md
	@$(RUN)/python -m benchmarks.scaling $(ARGS)

docs: $(VENV)/.ready ## write the pages of docs/ that are made from the program anew
	@$(RUN)/python scripts/write_docs.py

wheel: $(VENV)/.ready ## build the wheel into dist/
	@$(RUN)/python -m build --wheel --no-isolation --outdir dist .

clean: ## remove everything that was made here, the virtual environment too
	@rm -rf $(VENV) $(VENV)-cluster $(VENV)-stores dist build .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz benchmarks/out tests/server/node_modules tests/stores/node_modules

$(VENV)/.ready: pyproject.toml uv.lock scripts/setup
	@scripts/setup $(VENV)
	@touch $@

$(VENV)-cluster/.ready: pyproject.toml uv.lock scripts/setup
	@scripts/setup $(VENV)-cluster --group cluster
	@touch $@

$(VENV)-stores/.ready: pyproject.toml uv.lock scripts/setup
	@scripts/setup $(VENV)-stores --group stores
	@touch $@
