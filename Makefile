# What there is to type. Every target does its own set-up: python3 with pip, make and git suffice
# (`make conformance` and `make interop` need npm as well).

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
ARGS   ?=
UV     := 0.13.9
PARALLEL := pytest -q --numprocesses 2 --dist worksteal

# Commands of the environment are started by name; the one Python that makes it is found outside.
OUTER := PATH="$(PATH)" $(PYTHON)
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup fast fix check test conformance a2a-tck interop bench bench-peers demo serve lock

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## make the environment (every other target does it by itself)

# The stamp is younger than the lock: nothing to do. The environment has no pip of its own, the
# one that is there installs into it: Debian's python3 -m venv could not bring one along.
$(STAMP): requirements.lock pyproject.toml
	@$(OUTER) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "customhouse needs Python 3.11 or newer, and python3 is " + sys.version.split()[0] + ": say which one with make PYTHON=python3.x")'
	@echo "setting up $(VENV) (once; a minute or two)"
	@$(OUTER) -m venv --without-pip $(VENV)
	@$(OUTER) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check \
		--require-hashes --requirement requirements.lock
	@$(OUTER) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation --editable .
	@touch $@

fast: $(STAMP) ## format, lint, import contracts: on every save
	ruff format --check .
	ruff check .
	lint-imports --no-logo

fix: $(STAMP) ## let the linter and the formatter repair what they can
	ruff check --fix .
	ruff format .

check: fast ## fast, types, unit tests: before every commit
	mypy
	deptry .
	$(PARALLEL) -m 'not slow'

test: check ## everything: crashes, attacks, whole journeys with real processes
	$(PARALLEL) -m 'slow and not timed'
	pytest -q -m timed

conformance: $(STAMP) ## the official MCP suite, directly and through the gateway
	python -m tests.conformance $(ARGS)

a2a-tck: $(STAMP) ## the A2A compatibility kit, directly and through the gateway (KIT=its folder)
	python -m tests.a2a.tck $(KIT) $(KIT_PYTHON)

# What other people made lives in environments of its own, pinned in the file of the same name.
$(VENV)/apart/%/.installed: tests/%.txt
	@echo "setting up $(@D) (once)"
	@$(OUTER) -m venv --without-pip $(@D)
	@$(OUTER) -m pip --python $(@D)/bin/python install --quiet --disable-pip-version-check --requirement $<
	@touch $@

INTEROP := $(VENV)/apart/interop

$(INTEROP)/inspector/.installed: tests/interop/package-lock.json
	@command -v npm >/dev/null || { echo "npm is not here: the inspector is an npm package" >&2; exit 1; }
	@echo "setting up $(@D) (once)"
	@mkdir -p $(@D)
	@cp tests/interop/package.json tests/interop/package-lock.json $(@D)
	@cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

interop: $(STAMP) $(patsubst %,$(INTEROP)/%/.installed,langgraph pydantic_ai inspector) ## agents of LangGraph and pydantic-ai, and the MCP Inspector, use the gateway
	python -m tests.interop $(INTEROP)

bench: $(STAMP) ## what a governed call costs (ARGS=--write keeps the result)
	python -m tests.bench $(ARGS)

PEERS := $(VENV)/apart/bench/peers

bench-peers: $(STAMP) $(patsubst %,$(PEERS)/%/.installed,fastmcp contextforge policygw litellm) ## the same load on other gateways (ARGS=--write keeps the result)
	python -m tests.bench.peers $(PEERS) $(ARGS)

demo: $(STAMP) ## agents call real servers through the border; the log is proved and tampered with
	customhouse demo $(ARGS)

serve: $(STAMP) ## the gateway itself, on loopback
	customhouse serve $(ARGS)

# uv resolves for every platform and Python at once; the lock is plain requirements that any pip
# reads: hashes, no index, no addresses. UPGRADE=--upgrade takes newer releases. The second is what
# a container needs to run, at the same versions.
lock: ## pin the dependencies of pyproject.toml again
	@test -d $(VENV)/lock || $(OUTER) -m venv --without-pip $(VENV)/lock
	@$(OUTER) -m pip --python $(VENV)/lock/bin/python install --quiet uv==$(UV)
	$(VENV)/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --no-annotate $(UPGRADE) \
		--extra demo --extra dev --output-file requirements.lock pyproject.toml
	echo 'setuptools>=77' | $(VENV)/lock/bin/uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
		--constraint requirements.lock --output-file deploy/requirements.lock pyproject.toml -
