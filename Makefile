# Vesalius: everyday commands. `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DEMO   ?= demo
SEED   ?= 0
WORKERS ?= 2
RUFF_PATHS := src tests tools $(wildcard benchmarks) $(wildcard examples)

.DEFAULT_GOAL := help
.PHONY: help setup demo test check quick page page-check docs bench clean

help: ## these lines
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

setup: $(STAMP) ## a virtual environment in .venv with everything in it; does nothing when it is there
	@echo "ready: $(BIN)/vesalius --help"

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Vesalius needs Python 3.11 or newer, and there is no '$(PYTHON)'; install it, or name one: make setup PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Vesalius needs Python 3.11 or newer, '$(PYTHON)' is $$($(PYTHON) --version 2>&1); name a newer one: make setup PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "This Python cannot make virtual environments; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,medmnist,speed,video,weights,serve,ray]'
	@touch $@

demo: $(STAMP) ## films with planted truth: check, fit, report; about 2 minutes on 2 cores; goes on where it stopped
	@$(BIN)/python -m vesalius.phantoms films $(DEMO)/films --seed $(SEED)
	@echo; echo "== vesalius check $(DEMO)/films/data"
	@$(BIN)/vesalius check $(DEMO)/films/data --html $(DEMO)/check.html
	@echo; echo "== vesalius fit $(DEMO)/films/data --out $(DEMO)/run --seed $(SEED) --budget 90s"
	@$(BIN)/vesalius fit $(DEMO)/films/data --out $(DEMO)/run --seed $(SEED) --budget 90s
	@echo; echo "The report:          $(DEMO)/run/report.html"
	@echo "What the check found: $(DEMO)/check.html"
	@echo "What was planted:     $(DEMO)/films/truth.json"

test: $(STAMP) ## every test whose data and devices are here; WORKERS=4 on a larger machine
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --max-worker-restart=0 --dist loadfile --no-loadscope-reorder -m "not alone"
	@$(BIN)/python -m pytest tests -m alone

check: $(STAMP) ## lint, types, layers, changelog; and that each of these gates closes
	@$(BIN)/ruff check $(RUFF_PATHS)
	@$(BIN)/mypy
	@$(BIN)/python tools/gates.py
	@$(BIN)/python -m pytest -q tests/test_layers.py tests/test_gates.py

quick: $(STAMP) ## the inner loop, a minute at most: lint, gates, and the tests of what has changed since the last commit
	@$(BIN)/ruff check $(RUFF_PATHS)
	@$(BIN)/python tools/gates.py
	@timeout 60 $(BIN)/python -m pytest -q -x -m "not slow and not realdata" $$($(BIN)/python tools/changed.py)

page: ## the reading page from web/ into the package; needs Node 20
	@command -v npm >/dev/null || { echo "The page is built with Node.js 20 or newer, and there is no 'npm'; on Debian or Ubuntu: apt-get install nodejs npm"; exit 1; }
	@cd web && npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error && npm run build

page-check: ## types, lint and unit tests of the page's source
	@command -v npm >/dev/null || { echo "The page is checked with Node.js 20 or newer, and there is no 'npm'; on Debian or Ubuntu: apt-get install nodejs npm"; exit 1; }
	@cd web && npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error && npm run check && npm test

docs: $(STAMP) ## links, verbs and options in the documents are true
	@$(BIN)/python -m pytest -q tests/test_docs.py

bench: $(STAMP) ## every script of benchmarks/, or one: make bench NAME=check_speed
	@for script in $(if $(NAME),benchmarks/$(NAME).py,$(wildcard benchmarks/*.py)); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean: ## remove caches, builds and the demo; .venv and runs stay
	@rm -rf build dist $(DEMO) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find src tests tools benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
