# Preference prediction for LLM battles. `make help` says what there is; README.md says why.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

TABLE ?=
# What is not given is what the run was first called with (stages/remembered.py).
PROFILE ?=
RUN ?= $(or $(PROFILE),$(if $(TABLE),table,sample))
TRAIN ?=
TEST ?=
FOLDS ?=
SET ?=
BASES ?=
FEATURES ?=
ALLOW_SUSPECT ?=
AGAIN ?=
WORKERS ?=
NPROC ?= 1
STORAGE ?=
PYTHON ?= $(firstword $(shell command -v python3.11 python3 python))

PY := .venv/bin/python
PARAMS := battles/$(RUN)/params
# What starts the step of a base that uses torch, up to the module's name: one process, or several of torch.distributed
# (which would take our options for its own without the dashes).
LAUNCH ?= $(if $(filter-out 1,$(NPROC)),$(PY) -m torch.distributed.run --standalone --nproc-per-node $(NPROC) -m --,$(PY) -m)
# What runs on a run's files; only these read params.yaml.
PIPELINE := submission oof stack report features prepare plan

# ---------------------------------------------------------------- set-up

.PHONY: help setup
help:
	@echo 'make submission   everything from nothing, on the embedded sample: submission/sample/submission.csv'
	@echo 'make submission PROFILE=cpu TRAIN=train.csv TEST=test.csv     the same on your battles, without a GPU'
	@echo
	@echo 'make plan         what each base will take: tokens, memory, time, disk; what does not fit, and what would'
	@echo 'make oof          out-of-fold probabilities of every base model: oof/<run>/<base>.parquet'
	@echo 'make oof-<base>   of one base model; FOLDS=0,1 only those folds'
	@echo 'make stack        the stacker, tuned with Optuna, nested: oof/<run>/stack.parquet, metrics.json'
	@echo 'make stack TABLE=predictions.parquet BASES=one,two RUN=name    of predictions made elsewhere; FEATURES=columns'
	@echo 'make report       figures and metrics: report/<run>/index.html'
	@echo 'make verify RUN=name      hashes, submission and nested log loss again, from the files of the run'
	@echo 'make dashboard    the Optuna study on http://127.0.0.1:8080'
	@echo 'make test | lint | bench | clean'
	@echo
	@echo 'variables: PROFILE=sample|cpu|paper|full  RUN=name  TRAIN=path TEST=path  FOLDS=0,1'
	@echo '           NPROC=n processes of a base, one per GPU  LAUNCH="accelerate launch … -m" starts them another way'
	@echo '           WORKERS=n processes of the stacker  STORAGE=postgresql://user@host/database of its studies'
	@echo '           SET="section.key=value ..."  overrides params.yaml, e.g. SET="stack.trials=50 tfidf.seed=1"'

.venv/installed: requirements.txt
	@version=$$('$(PYTHON)' -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  if [ "$$version" != 3.11 ]; then \
	    echo "error: PYTHON: $(PYTHON) is Python $$version; give a Python 3.11: make PYTHON=path" >&2; exit 2; fi
	'$(PYTHON)' -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	.venv/bin/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

setup: .venv/installed .venv/installed-dev

# ---------------------------------------------------------------- the pipeline

.PHONY: $(PIPELINE) dashboard FORCE
FORCE:

ifneq ($(filter $(PIPELINE) oof-%,$(MAKECMDGOALS)),)
# Resolves the params of the run: a stamp per section, rewritten only when its content changes, and run.mk
# with the variables NAMES (of bases) TRANSFORMERS (those of them that use torch) JOBS THREADS HAS_TEST SOURCE TINY CLEAN
# NEEDS_<base>. Bad params end here.
$(PARAMS)/run.mk: .venv/installed FORCE
	@$(PY) -m stages.params --run '$(RUN)' --profile '$(PROFILE)' --train '$(TRAIN)' --test '$(TEST)' \
	  --folds '$(FOLDS)' --overrides '$(SET)' --table '$(TABLE)' --bases '$(BASES)' --features '$(FEATURES)' \
	  --allow-suspect '$(ALLOW_SUSPECT)' --again '$(AGAIN)' --nproc '$(NPROC)'
include $(PARAMS)/run.mk

MAKEFLAGS += -j$(JOBS)
ifneq ($(THREADS),)
export OMP_NUM_THREADS := $(THREADS)
endif
export TOKENIZERS_PARALLELISM := false
export PYTHONUNBUFFERED := 1
ifeq ($(SOURCE),sample)
export HF_HUB_OFFLINE := 1
endif
endif

BATTLES := battles/$(RUN)/train.parquet battles/$(RUN)/folds.parquet
FEATURE_FILE := features/$(RUN)/train.parquet
OOF := $(NAMES:%=oof/$(RUN)/%.parquet)
STACK := oof/$(RUN)/stack.parquet oof/$(RUN)/metrics.json
# Of the test battles, where there are some: a new test file costs predictions, not training.
TEST_BATTLES := $(if $(HAS_TEST),battles/$(RUN)/test.parquet)
TEST_FEATURES := $(if $(HAS_TEST),features/$(RUN)/test.parquet)
TEST_OOF := $(if $(HAS_TEST),$(NAMES:%=oof/$(RUN)/%.test.parquet))
TEST_STACK := $(if $(HAS_TEST),oof/$(RUN)/stack.test.parquet)

ifeq ($(SOURCE),table)
# Predictions made elsewhere: one step stands for battles, features and bases.
$(BATTLES) $(FEATURE_FILE) $(OOF) &: $(PARAMS)/inputs.json $(PARAMS)/prepare.json
	@$(PY) -m stages.table --run $(RUN)
else

SAMPLE := $(addprefix battles/$(RUN)/source/,train.csv test.csv truth.parquet)
$(SAMPLE) &: $(PARAMS)/sample.json
	@$(PY) -m stages.sample --run $(RUN)

# The test battles come first, so that a bad test file is known before anything is trained.
$(BATTLES) &: $(PARAMS)/inputs.json $(PARAMS)/prepare.json $(if $(filter sample,$(SOURCE)),$(SAMPLE)) | $(TEST_BATTLES)
	@$(PY) -m stages.prepare --run $(RUN)

battles/$(RUN)/test.parquet: $(PARAMS)/test.json $(if $(filter sample,$(SOURCE)),$(SAMPLE))
	@$(PY) -m stages.prepare --run $(RUN) --test

# Both write what they can of the test battles too; the rules of those only do what is left.
$(FEATURE_FILE): $(PARAMS)/features.json $(BATTLES)
	@$(PY) -m stages.features --run $(RUN)

features/$(RUN)/test.parquet: $(FEATURE_FILE) $(TEST_BATTLES)
	@$(PY) -m stages.features --run $(RUN) --test

models/runs/$(RUN)/tiny/%/config.json: $(PARAMS)/tiny.json $(BATTLES)
	@$(PY) -m stages.tiny --run $(RUN) --name $*

# A stage of one base: stage, base. Of a base that uses torch, as many processes as were asked for.
start = $(if $(filter $(2),$(TRANSFORMERS)),$(LAUNCH) $(1) --processes $(NPROC),$(PY) -m $(1)) --run $(RUN) --name $(2)
define base-rule
oof/$(RUN)/$(1).parquet: $(PARAMS)/$(1).json $(BATTLES) $(NEEDS_$(1))
	@$$(call start,stages.base,$(1)) $(if $(filter 1,$(AGAIN)),--again)
oof/$(RUN)/$(1).test.parquet: oof/$(RUN)/$(1).parquet $(TEST_BATTLES)
	@$$(call start,stages.predict,$(1))
.PHONY: oof-$(1)
oof-$(1): oof/$(RUN)/$(1).parquet $(if $(HAS_TEST),oof/$(RUN)/$(1).test.parquet)
	@echo 'oof-$(1): $$< is up to date'
endef
$(foreach base,$(NAMES),$(eval $(call base-rule,$(base))))

# What clean students learn from: their teacher without each pair of folds.
define pairs-rule
oof/$(RUN)/$(1).pairs.parquet: $(PARAMS)/$(1).json $(BATTLES) $(NEEDS_$(1))
	@$$(call start,stages.base,$(1)) --pairs $(if $(filter 1,$(AGAIN)),--again)
endef
$(foreach base,$(CLEAN),$(eval $(call pairs-rule,$(base))))
endif
oof-%:
	@echo "error: oof-$*: run $(RUN) has no base model of that name; its bases are $(NAMES)" >&2; exit 2

$(STACK) &: $(PARAMS)/stack.json $(PARAMS)/run.json $(OOF) $(FEATURE_FILE)
	@$(PY) -m stages.stack --run $(RUN) --storage '$(STORAGE)' --workers '$(WORKERS)'

oof/$(RUN)/stack.test.parquet: $(STACK) $(TEST_OOF) $(TEST_FEATURES)
	@$(PY) -m stages.predict_stack --run $(RUN)

submission/$(RUN)/submission.csv submission/$(RUN)/manifest.json &: $(TEST_STACK)
	@$(PY) -m stages.submit --run $(RUN)

report/$(RUN)/index.html report/$(RUN)/metrics.json &: $(STACK)
	@$(PY) -m stages.report --run $(RUN)

stack: $(STACK)
report: report/$(RUN)/index.html
UP_TO_DATE := stack report
ifneq ($(SOURCE),table)
prepare: $(BATTLES) $(TEST_BATTLES)
features: $(FEATURE_FILE) $(TEST_FEATURES)
oof: $(OOF) $(TEST_OOF)
plan: $(BATTLES) $(TEST_BATTLES)
	@$(PY) -m stages.plan --run $(RUN) --nproc $(NPROC)
UP_TO_DATE += prepare features oof
endif
$(UP_TO_DATE):
	@echo '$@: $(RUN) is up to date'

ifeq ($(SOURCE),table)
submission prepare features oof plan:
	@echo 'error: TABLE: $@ needs battles; on predictions made elsewhere: make stack TABLE=… BASES=… RUN=name' >&2; exit 2
else ifneq ($(HAS_TEST),)
# make looks at one of a step's files only: both are named, as a step may be killed between them.
submission: submission/$(RUN)/submission.csv submission/$(RUN)/manifest.json
	@$(PY) -m stages.verify --run '$(RUN)' --files
	@echo 'submission: $< is up to date'
else
submission:
	@echo 'error: TEST: not given; a submission needs the battles to predict: make submission … TEST=path/test.csv' >&2; exit 2
endif

.PHONY: verify
verify: .venv/installed
	@$(PY) -m stages.verify --run '$(RUN)'

dashboard: .venv/installed
	@$(PY) -m stages.dashboard --run '$(RUN)' --storage '$(STORAGE)'

# ---------------------------------------------------------------- the project itself

.PHONY: test lint bench clean
test: .venv/installed-dev
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false .venv/bin/python -m pytest -n 2 --dist loadfile

lint: .venv/installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: .venv/installed-dev
	@$(PY) -m benchmarks.run $(if $(TRAIN),--csv '$(TRAIN)')

# The output of one run only.
clean:
	@case '$(RUN)' in ''|.*|*/*) echo "error: RUN: '$(RUN)' must name a run" >&2; exit 2;; esac; \
	  rm -rf $(foreach room,battles features models/runs oof submission report,'$(room)/$(RUN)/')
