# Preference prediction for LLM battles. `make help` says what there is; README.md says why.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

TABLE ?=
PROFILE ?= $(if $(TABLE),table,sample)
RUN ?= $(PROFILE)
TRAIN ?=
TEST ?=
FOLDS ?=
SET ?=
BASES ?=
FEATURES ?=
ALLOW_SUSPECT ?=
WORKERS ?=
NPROC ?= 1
STORAGE ?=
# What makes .venv (the oldest supported Python in PATH unless given), and the build of torch in it.
PYTHON ?=
TORCH ?=

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
	@echo 'make dashboard    the Optuna study on http://127.0.0.1:8080'
	@echo 'make setup        .venv alone; TORCH=cpu or cu126 or an index URL: another build of torch; PYTHON=path of 3.11, 3.12 or 3.13'
	@echo 'make test | lint | bench | clean'
	@echo
	@echo 'variables: PROFILE=sample|cpu|paper|full  RUN=name  TRAIN=path TEST=path  FOLDS=0,1'
	@echo '           NPROC=n processes of a base, one per GPU  LAUNCH="accelerate launch … -m" starts them another way'
	@echo '           WORKERS=n processes of the stacker  STORAGE=postgresql://user@host/database of its studies'
	@echo '           SET="section.key=value ..."  overrides params.yaml, e.g. SET="stack.trials=50 tfidf.seed=1"'

# Forced where another build of torch is asked for than .venv has.
.venv/installed: requirements.txt $(if $(filter-out $(lastword $(file <.venv/torch)),$(TORCH)),FORCE)
	@PYTHON='$(PYTHON)' TORCH='$(TORCH)' bash stages/install.sh $<
	@touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	@PYTHON='$(PYTHON)' TORCH='$(TORCH)' bash stages/install.sh $<
	@touch $@

setup: .venv/installed .venv/installed-dev
	@PYTHON='$(PYTHON)' TORCH='$(TORCH)' bash stages/install.sh

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
	  --allow-suspect '$(ALLOW_SUSPECT)' --nproc '$(NPROC)'
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

BATTLES := battles/$(RUN)/train.parquet battles/$(RUN)/folds.parquet $(if $(HAS_TEST),battles/$(RUN)/test.parquet)
FEATURE_FILES := features/$(RUN)/train.parquet $(if $(HAS_TEST),features/$(RUN)/test.parquet)
oof-of = oof/$(RUN)/$(1).parquet $(if $(HAS_TEST),oof/$(RUN)/$(1).test.parquet)
OOF := $(foreach base,$(NAMES),$(call oof-of,$(base)))
STACK := $(call oof-of,stack) oof/$(RUN)/metrics.json

ifeq ($(SOURCE),table)
# Predictions made elsewhere: one step stands for battles, features and bases.
$(BATTLES) $(FEATURE_FILES) $(OOF) &: $(PARAMS)/inputs.json $(PARAMS)/prepare.json
	@$(PY) -m stages.table --run $(RUN)
else

SAMPLE := $(addprefix battles/$(RUN)/source/,train.csv test.csv truth.parquet)
$(SAMPLE) &: $(PARAMS)/sample.json
	@$(PY) -m stages.sample --run $(RUN)

$(BATTLES) &: $(PARAMS)/inputs.json $(PARAMS)/prepare.json $(if $(filter sample,$(SOURCE)),$(SAMPLE))
	@$(PY) -m stages.prepare --run $(RUN)

$(FEATURE_FILES) &: $(PARAMS)/features.json $(BATTLES)
	@$(PY) -m stages.features --run $(RUN)

models/runs/$(RUN)/tiny/%/config.json: $(PARAMS)/tiny.json $(BATTLES)
	@$(PY) -m stages.tiny --run $(RUN) --name $*

start-base = $(if $(filter $(1),$(TRANSFORMERS)),$(LAUNCH) stages.base --processes $(NPROC),$(PY) -m stages.base) --run $(RUN) --name $(1)
define base-rule
$(call oof-of,$(1)) &: $(PARAMS)/$(1).json $(BATTLES) $(NEEDS_$(1))
	@$$(call start-base,$(1))
.PHONY: oof-$(1)
oof-$(1): $(call oof-of,$(1))
	@echo 'oof-$(1): $$< is up to date'
endef
$(foreach base,$(NAMES),$(eval $(call base-rule,$(base))))

# What clean students learn from: their teacher without each pair of folds.
define pairs-rule
oof/$(RUN)/$(1).pairs.parquet: $(PARAMS)/$(1).json $(BATTLES) $(NEEDS_$(1))
	@$$(call start-base,$(1)) --pairs
endef
$(foreach base,$(CLEAN),$(eval $(call pairs-rule,$(base))))
endif
oof-%:
	@echo "error: oof-$*: run $(RUN) has no base model of that name; its bases are $(NAMES)" >&2; exit 2

$(STACK) &: $(PARAMS)/stack.json $(PARAMS)/run.json $(OOF) $(FEATURE_FILES)
	@$(PY) -m stages.stack --run $(RUN) --storage '$(STORAGE)' --workers '$(WORKERS)'

submission/$(RUN)/submission.csv submission/$(RUN)/manifest.json &: $(STACK)
	@$(PY) -m stages.submit --run $(RUN)

report/$(RUN)/index.html report/$(RUN)/metrics.json &: $(STACK)
	@$(PY) -m stages.report --run $(RUN)

stack: $(STACK)
report: report/$(RUN)/index.html
UP_TO_DATE := stack report
ifneq ($(SOURCE),table)
prepare: $(BATTLES)
features: $(FEATURE_FILES)
oof: $(OOF)
plan: $(BATTLES)
	@$(PY) -m stages.plan --run $(RUN) --nproc $(NPROC)
UP_TO_DATE += prepare features oof
endif
$(UP_TO_DATE):
	@echo '$@: $(RUN) is up to date'

ifeq ($(SOURCE),table)
submission prepare features oof plan:
	@echo 'error: TABLE: $@ needs battles; on predictions made elsewhere: make stack TABLE=… BASES=… RUN=name' >&2; exit 2
else ifneq ($(HAS_TEST),)
submission: submission/$(RUN)/submission.csv
	@echo 'submission: $< is up to date'
else
submission:
	@echo 'error: TEST: not given; a submission needs the battles to predict: make submission … TEST=path/test.csv' >&2; exit 2
endif

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
