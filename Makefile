# `make demo` and `make test` work from a fresh clone: each makes .venv first, and again when the dependencies change.

.DEFAULT_GOAL := help
.PHONY: help env demo test test-all test-gpu lint bench pocket clean FORCE
SHELL := /bin/bash
.DELETE_ON_ERROR:

# The first interpreter that is new enough and can make a virtual environment; `make PYTHON=... env` names another.
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	"$$p" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$p" && break; done)
RUN := .venv/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check --no-input install --constraint constraints.txt

# What surrounds us must not decide what runs in .venv.
unexport PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX
export PYTHONNOUSERSITE := 1
# Tokenizers warn at every fork that their threads cannot follow; Beam's workers fork.
export TOKENIZERS_PARALLELISM := false

BENCHMARKS := pocket_quality real_audio pipeline_overhead
# Real clips (ESC-50's layout) join the training of the pocket pair where they are at hand; only ESC-10 is learned from.
REAL_CLIPS ?= $(wildcard ../shared/data/audio/esc)

# The stamp holds the folder it was made for: an environment that was copied or moved with its folder is made anew.
STAMP := .venv/.ready
ifneq ($(file <$(STAMP)),$(CURDIR))
$(STAMP): FORCE
endif

help:
	@echo "make demo      a dozen soundscapes captioned and scored with the embedded models, in demo-output/"
	@echo "make test      the tests (make test-all adds the slow ones, make test-gpu runs those that need CUDA)"
	@echo "make lint      format, lint, types, import contracts"
	@echo "make bench     every benchmark in its short form"
	@echo "make pocket    train the embedded models again (hours on two cores)"
	@echo "make env       the virtual environment in .venv, which all of these make for themselves"
	@echo "make clean     remove what the others left, except .venv"

env: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python 3.11 or newer with venv was found. Install one (Debian: apt install python3.11-venv)" \
			"or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; fi
	@echo "Making .venv with $(PYTHON); the first time takes some minutes ..." >&2
	@[ -x $(RUN) ] && $(RUN) -c '' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@{ $(PIP) "$$(grep '^torch==' constraints.txt)" && $(PIP) --editable '.[cpu,dev]'; } > .venv/pip.log 2>&1 \
		|| { cat .venv/pip.log >&2; exit 1; }
	@printf '%s' '$(CURDIR)' > $(STAMP)

demo: env
	@.venv/bin/sonogloss demo --output demo-output

# Tests reach no model hub; offline mode turns a mistake there into a failure instead of a download.
test test-all test-gpu: export HF_HUB_OFFLINE := 1

test: env
	@$(RUN) -m pytest -q

test-all: env
	@$(RUN) -m pytest -q -m "not gpu and not network"

test-gpu: env
	@$(RUN) -m pytest -q -m "gpu"

lint: env
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	.venv/bin/lint-imports

bench: env
	@set -e; for job in $(BENCHMARKS); do echo "== $$job"; $(RUN) -m benchmarks.$$job --short; done

pocket: env
	$(RUN) -m sonogloss.pocket $(if $(REAL_CLIPS),--real-clips $(REAL_CLIPS))

clean:
	rm -rf build dist *.egg-info demo-output bench-output .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

FORCE:
