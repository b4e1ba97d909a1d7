# filmgate: `make run` sets everything up and shows it at work; `make test` sets everything up and tests it.
.DEFAULT_GOAL := help
.PHONY: help run test test-sqlalchemy lint format bench clean docs screenshots constraints peers venv
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
STATE ?= state
# more than the cores of a small machine: many tests wait
JOBS ?= 3
OTHER_SQLALCHEMY := $(VENV)/sqlalchemy-2.0

# the first of these that is Python 3.11, 3.12 or 3.13
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)

help: ## show these verbs
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /\1\t/' | expand -t 14

run: $(STAMP) ## a gateway on this machine, sample films pushed through it, verdicts shown; stays up (ONCE=1: ends)
	@$(BIN)/filmgate demo --state $(STATE) $(if $(ONCE),--once)

test: lint peers ## lint, then every test, three files at a time (JOBS=0: one after the other)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)
	@$(MAKE) test-sqlalchemy

# The ledger on the SQLAlchemy before the one that is installed: both are allowed, so both are tested.
test-sqlalchemy: $(STAMP)
	@test -d $(OTHER_SQLALCHEMY) || $(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps \
	  --target $(OTHER_SQLALCHEMY) 'SQLAlchemy>=2.0.40,<2.1'
	@PYTHONPATH=$(OTHER_SQLALCHEMY) $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile \
	  $(wildcard tests/test_ledger*.py) tests/test_queue.py tests/test_listing.py tests/test_rulings.py

lint: $(STAMP) ## ruff, mypy, import-linter
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo > $(VENV)/lint-imports.log 2>&1 || { cat $(VENV)/lint-imports.log; exit 1; }
	@echo "lint: clean"

format: $(STAMP) ## lay the code out
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

bench: $(STAMP) peers ## measure receive, gate and delivery rates on this machine
	@for b in "ingest.py --workers 2" "decode.py" "gates.py" "classify.py" "flow.py latency" "flow.py sustained" "flow.py archive" "flow.py memory" "readings.py" "ledger.py" "console/pages.py" "console/review.py" "console/tabs.py" "console/acts.py" "console/alarms.py" "harm/siege.py" "harm/fuzz.py" "harm/survive.py" "harm/stops.py"; do \
	  echo "== bench/$$b"; $(BIN)/python bench/$$b || exit 1; done

docs: $(STAMP) ## check that every setting and reason is documented; write docs/settings.schema.json
	@$(BIN)/filmgate config schema > docs/settings.schema.json
	@$(BIN)/python -m pytest -q tests/test_docs.py

screenshots: $(STAMP) peers ## look at every page of the console in a browser, and keep its pictures in docs/console
	@FILMGATE_SCREENSHOTS=docs/console $(BIN)/python -m pytest -q tests/e2e/test_browser_pages.py

clean: ## remove what make made (not the state folder)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

constraints: $(STAMP) ## pin anew what constraints/ pins
	@$(BIN)/python -m pip install --quiet uv
	@for v in 3.11 3.12 3.13; do \
	  { echo "# What filmgate was tested with on Python $$v. Remade by: make constraints"; \
	    $(BIN)/uv pip compile pyproject.toml --quiet --upgrade --extra train --extra dev --python-version $$v --no-header \
	      --no-annotate --python-platform x86_64-unknown-linux-gnu | grep -viE '^(nvidia|triton|cuda)' | sed 's/+cpu$$//'; \
	  } > constraints/py$${v/./}.txt || exit 1; done

peers: ## the real peers of the tests: DCMTK, Orthanc, Redis, dicom3tools, Chromium
	@.ci/peers

venv: $(STAMP) ## .venv with filmgate, its training extra and the developers' tools

# torch first and pinned, so that no other package's wishes choose its build
$(STAMP): pyproject.toml $(wildcard constraints/*.txt)
	@test -n "$(PYTHON)" || { echo "filmgate needs Python 3.11, 3.12 or 3.13; name one: make PYTHON=/path/to/python3.12"; exit 1; }
	@test -x $(BIN)/python || { echo "setup: making $(VENV) with $(PYTHON)"; $(PYTHON) -m venv $(VENV); }
	@echo "setup: installing filmgate and its tools into $(VENV) (minutes, once)"
	@pins=constraints/$$($(BIN)/python -c 'import sys; print("py%d%d.txt" % sys.version_info[:2])'); \
	pip="$(BIN)/python -m pip install -qq --disable-pip-version-check --progress-bar off"; \
	$$pip "$$(grep -E '^torch==' $$pins)" && $$pip -c $$pins --editable '.[train,dev]'
	@touch $@
