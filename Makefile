# Preference prediction for LLM battles. `make help` says what there is; README.md says why.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

# What a user may give. The values are files and words of anybody's making: here they become plain text, which make
# does not expand again, and they reach the steps through the environment, so that no shell reads them.
VARIABLES := PROFILE RUN TRAIN TEST FORMAT TABLE SET FOLDS BASES FEATURES ALLOW_SUSPECT AGAIN WORKERS NPROC STORAGE
VARIABLES += BATTLES OUT NAME CARD HOURS OWNER COMPETITION MODEL_SOURCES FROM MESSAGE KERNEL RUNS TEXTS SPLITS
# Some systems export the machine's name as NAME: only what stands on the command line is meant.
ifneq ($(origin NAME),command line)
NAME :=
endif
EXPORTED := $(foreach name,$(VARIABLES),$(if $(filter environment,$(origin $(name))),$(name)))
$(foreach name,$(VARIABLES),$(eval override $(name) := $$(value $(name))))
# What is not given is what the run was first called with (stages/remembered.py).
override RUN := $(or $(RUN),$(PROFILE),$(if $(TABLE),table,sample))
override NPROC := $(or $(NPROC),1)
# What makes .venv (the oldest supported Python in PATH unless given), and the build of torch in it.
PYTHON ?=
TORCH ?=
$(foreach name,PYTHON TORCH,$(eval override $(name) := $$(value $(name))))
export PYTHON TORCH

PY := .venv/bin/python
# What starts the step of a base that uses torch, up to the module's name: one process, or several of torch.distributed
# (which would take our options for its own without the dashes).
LAUNCH ?= $(if $(filter-out 1,$(NPROC)),$(PY) -m torch.distributed.run --standalone --nproc-per-node $(NPROC) -m --,$(PY) -m)
# What runs on a run's files, besides oof-<base>; only these read params.yaml.
PIPELINE := submission oof stack report features prepare plan verify
# What works without a run's lock and makes no file of a run's steps.
ALONE := params dashboard predict bundle data backbone submit compare

# ---------------------------------------------------------------- set-up

.PHONY: help setup FORCE
FORCE:
help:
	@echo 'make submission   everything from nothing, on the embedded sample: submission/sample/submission.csv'
	@echo 'make submission PROFILE=cpu TRAIN=train.csv TEST=test.csv     the same on your battles, without a GPU'
	@echo
	@echo 'make params       every setting with its meaning, its default and its value in this profile and run'
	@echo 'make plan         what each base will take: tokens, memory, time, disk; what does not fit, and what would'
	@echo 'make plan CARD=t4|2xt4|l4|a10|4090|a100-40|a100-80|h100|h200 HOURS=24     for a card that is not here; of a finished run the log loss by minute'
	@echo 'make oof          out-of-fold probabilities of every base model: oof/<run>/<base>.parquet'
	@echo 'make oof-<base>   of one base model; FOLDS=0,1 only those folds'
	@echo 'make stack        the stacker, tuned with Optuna, nested: oof/<run>/stack.parquet, metrics.json'
	@echo 'make stack TABLE=predictions.parquet BASES=one,two RUN=name    of predictions made elsewhere; FEATURES=columns'
	@echo 'make stack RUN=name SPLITS=5   mean and spread of the figures over other splits into folds, each a run of its own'
	@echo 'make report       how good, why, and where it fails: report/<run>/index.html; TEXTS=no without the texts of battles'
	@echo 'make verify       every hash, the submission and the nested log loss of a run, computed again from its files'
	@echo 'make predict RUN=name BATTLES=file    battles predicted by a finished run: submission/<run>/predictions.csv or OUT=file'
	@echo 'make bundle RUN=name [OWNER=you]      what a Kaggle notebook without internet needs: submission/<run>/bundle/'
	@echo 'make data         train.csv and test.csv into data/; COMPETITION=lmsys-chatbot-arena|llm-classification-finetuning FROM=kaggle|huggingface'
	@echo 'make backbone NAME=smollm2    a real language model of 135 M parameters from the package index, for PROFILE=small'
	@echo 'make submit RUN=name MESSAGE=text     checks the submission and hands it to Kaggle; KERNEL=you/notebook/version: that one'
	@echo 'make compare RUNS=one,two             runs of the same split side by side'
	@echo 'make dashboard    the Optuna study on http://127.0.0.1:8080'
	@echo 'make setup        .venv alone; TORCH=cpu or cu126 or an index URL: another build of torch; PYTHON=path of 3.11, 3.12 or 3.13'
	@echo 'make test | test-real | lint | bench | torture | audit | clean RUN=name'
	@echo
	@echo 'variables: PROFILE=sample|cpu|small|paper|full|t4  RUN=name  TRAIN=path TEST=path  FOLDS=0,1'
	@echo '           FORMAT=auto|competition|arena-33k|arena-55k|arena-100k|arena-140k|mt-bench|wsdm of TRAIN and TEST'
	@echo '           NPROC=n processes of a base, one per GPU  LAUNCH="accelerate launch … -m" starts them another way'
	@echo '           WORKERS=n processes of the stacker  STORAGE=postgresql://user@host/database of its studies'
	@echo '           SET="section.key=value ..."  overrides params.yaml, e.g. SET="stack.trials=50 tfidf.seed=1"'
	@echo 'a run remembers them: after the first call RUN=name is enough; AGAIN=1 lets finished models be trained again'

# Forced where another build of torch is asked for than .venv has.
.venv/installed: requirements.txt $(if $(filter-out $(lastword $(file <.venv/torch)),$(TORCH)),FORCE)
	@bash stages/install.sh $<
	@touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	@bash stages/install.sh $<
	@touch $@

setup: .venv/installed .venv/installed-dev
	@bash stages/install.sh

# ---------------------------------------------------------------- the pipeline

.PHONY: $(PIPELINE) $(ALONE) clean start
ifneq ($(filter $(PIPELINE) oof-% $(ALONE) clean bench,$(MAKECMDGOALS)),)
$(foreach name,$(VARIABLES) EXPORTED,$(eval export ARENA_$(name) := $$(value $(name))))
export ARENA_GOALS := $(filter $(PIPELINE) oof-%,$(MAKECMDGOALS))
export ARENA_MAKE := $(MAKE)
export PYTHONUNBUFFERED := 1
endif

# The rules of a run are read by a second make, which `stages.start` starts once it has checked RUN, locked the run and
# resolved its params.
ifndef ARENA_CALL
$(PIPELINE): start ; @:
oof-%: start ; @:
start: .venv/installed
	+@exec $(PY) -m stages.start
# The stack once more on other splits: each is a run of its own, and this run's lock is free by then.
ifneq ($(filter-out 1,$(SPLITS)),)
.PHONY: splits
stack: splits
splits: start
	+@exec $(PY) -m stages.splits
endif
else
PARAMS := battles/$(RUN)/params
# Written by `stages.params` beside a stamp per section, each only when its content changes: the variables NAMES (of bases)
# TRANSFORMERS (those of them that use torch) JOBS THREADS HAS_TEST SOURCE TINY CLEAN NEEDS_<base>.
include $(PARAMS)/run.mk

MAKEFLAGS += -j$(JOBS)
ifneq ($(THREADS),)
export OMP_NUM_THREADS := $(THREADS)
endif
export TOKENIZERS_PARALLELISM := false
ifeq ($(SOURCE),sample)
export HF_HUB_OFFLINE := 1
endif

VOTED := battles/$(RUN)/train.parquet battles/$(RUN)/folds.parquet
FEATURE_FILE := features/$(RUN)/train.parquet
# What predictions from the saved models alone need beside them.
FEATURE_MODEL := models/runs/$(RUN)/features/features.json
FEATURE_PAIRS := $(FEATURE_FILE:%.parquet=%.pairs.parquet)
RECORDS := $(if $(filter table,$(SOURCE)),,$(FEATURE_MODEL) $(NAMES:%=models/runs/$(RUN)/%/base.json))
# What takes seconds comes before what takes hours, and so do its errors.
OOF := $(patsubst %,oof/$(RUN)/%.parquet,$(filter-out $(TRANSFORMERS),$(NAMES)) $(TRANSFORMERS))
STACK := oof/$(RUN)/stack.parquet oof/$(RUN)/metrics.json models/runs/$(RUN)/stack/stack.json
# Of the test battles, where there are some: a new test file costs predictions, not training.
TEST_BATTLES := $(if $(HAS_TEST),battles/$(RUN)/test.parquet)
TEST_FEATURES := $(if $(HAS_TEST),features/$(RUN)/test.parquet)
TEST_OOF := $(if $(HAS_TEST),$(NAMES:%=oof/$(RUN)/%.test.parquet))
TEST_STACK := $(if $(HAS_TEST),oof/$(RUN)/stack.test.parquet)
SUBMISSION := $(addprefix submission/$(RUN)/,submission.csv manifest.json)
REPORT := $(addprefix report/$(RUN)/,index.html metrics.json)
# Every step writes whole files or none: what an interrupted or failed one leaves is good, and often of an earlier call.
.PRECIOUS: $(VOTED) $(FEATURE_FILE) $(OOF) $(STACK) $(TEST_BATTLES) $(TEST_FEATURES) $(TEST_OOF) $(TEST_STACK)
.PRECIOUS: $(SUBMISSION) $(REPORT) $(RECORDS) $(FEATURE_PAIRS)

ifeq ($(SOURCE),table)
# Predictions made elsewhere: one step stands for battles, features and bases.
$(VOTED) $(FEATURE_FILE) $(OOF) &: $(PARAMS)/inputs.json $(PARAMS)/prepare.json $(PARAMS)/run.json
	@exec $(PY) -m stages.table --run $(RUN)
else

SAMPLE := $(addprefix battles/$(RUN)/source/,train.csv test.csv corpus.parquet truth.parquet)
.PRECIOUS: $(SAMPLE) $(CLEAN:%=oof/$(RUN)/%.pairs.parquet) models/runs/$(RUN)/tiny/%/config.json
$(SAMPLE) &: $(PARAMS)/sample.json
	@exec $(PY) -m stages.sample --run $(RUN)

# The test battles come first, so that a bad test file is known before anything is trained.
$(VOTED) &: $(PARAMS)/inputs.json $(PARAMS)/prepare.json $(if $(filter sample,$(SOURCE)),$(SAMPLE)) | $(TEST_BATTLES)
	@exec $(PY) -m stages.prepare --run $(RUN)

battles/$(RUN)/test.parquet: $(PARAMS)/test.json $(if $(filter sample,$(SOURCE)),$(SAMPLE))
	@exec $(PY) -m stages.prepare --run $(RUN) --test

# Features and bases do what they can of the test battles by the way; the rules of those only do what is left.
$(FEATURE_FILE) $(FEATURE_PAIRS) $(FEATURE_MODEL) &: $(PARAMS)/features.json $(VOTED)
	@exec $(PY) -m stages.features --run $(RUN)

features/$(RUN)/test.parquet: $(FEATURE_FILE) $(TEST_BATTLES)
	@exec $(PY) -m stages.features --run $(RUN) --test

models/runs/$(RUN)/tiny/%/config.json: $(PARAMS)/tiny.json $(VOTED) $(if $(filter sample,$(SOURCE)),$(SAMPLE))
	@exec $(PY) -m stages.tiny --run $(RUN) --name $*

# A stage of one base: stage, base. Of a base that uses torch, as many processes as were asked for.
start-base = $(if $(filter $(2),$(TRANSFORMERS)),$(LAUNCH) $(1) --processes $(NPROC),$(PY) -m $(1)) --run $(RUN) --name $(2)
again := $(if $(filter 1,$(AGAIN)),--again)
define base-rule
oof/$(RUN)/$(1).parquet models/runs/$(RUN)/$(1)/base.json &: $(PARAMS)/$(1).json $(VOTED) $(NEEDS_$(1))
	@$$(call start-base,stages.base,$(1)) $(again)
oof/$(RUN)/$(1).test.parquet: oof/$(RUN)/$(1).parquet $(TEST_BATTLES)
	@$$(call start-base,stages.predict,$(1))
.PHONY: oof-$(1)
oof-$(1): oof/$(RUN)/$(1).parquet $(if $(HAS_TEST),oof/$(RUN)/$(1).test.parquet)
	@echo 'oof-$(1): $$< is up to date'
endef
$(foreach base,$(NAMES),$(eval $(call base-rule,$(base))))

# What clean students and the stacker learn from: models without each pair of folds.
define pairs-rule
oof/$(RUN)/$(1).pairs.parquet: $(PARAMS)/$(1).json $(VOTED) $(NEEDS_$(1))
	@$$(call start-base,stages.base,$(1)) --pairs $(again)
endef
$(foreach base,$(CLEAN),$(eval $(call pairs-rule,$(base))))
endif
oof-%:
	@echo "error: oof-$*: run $(RUN) has no base model of that name; its bases are $(NAMES)" >&2; exit 2

$(STACK) &: $(PARAMS)/stack.json $(PARAMS)/run.json $(FEATURE_FILE) $(STACK_NEEDS) $(OOF) $(RECORDS)
	@exec $(PY) -m stages.stack --run $(RUN)

oof/$(RUN)/stack.test.parquet: $(STACK) $(TEST_OOF) $(TEST_FEATURES)
	@exec $(PY) -m stages.predict_stack --run $(RUN)

$(SUBMISSION) &: $(TEST_STACK)
	@exec $(PY) -m stages.submit --run $(RUN)

$(REPORT) &: $(STACK) $(PARAMS)/report.json $(TEST_FEATURES) $(wildcard oof/$(RUN)/splits.json)
	@exec $(PY) -m stages.report --run $(RUN)

stack: $(STACK)
report: $(REPORT)
UP_TO_DATE := stack report
ifneq ($(SOURCE),table)
prepare: $(VOTED) $(TEST_BATTLES)
features: $(FEATURE_FILE) $(TEST_FEATURES)
oof: $(OOF) $(TEST_OOF)
plan: $(VOTED) $(TEST_BATTLES)
	@exec $(PY) -m stages.plan --run $(RUN) --nproc $(NPROC)
UP_TO_DATE += prepare features oof
endif
$(UP_TO_DATE):
	@echo '$@: $(RUN) is up to date'

ifeq ($(SOURCE),table)
submission prepare features oof plan:
	@echo 'error: TABLE: $@ needs battles; on predictions made elsewhere: make stack TABLE=… BASES=… RUN=name' >&2; exit 2
else ifneq ($(HAS_TEST),)
# make looks at one of a step's files only: both are named, as a step may be killed between them.
submission: $(SUBMISSION)
	@$(PY) -m stages.verify --run $(RUN) --files
	@echo 'submission: $< is up to date'
else
submission:
	@echo 'error: TEST: not given; a submission needs the battles to predict: make submission … TEST=path/test.csv' >&2; exit 2
endif

verify:
	@exec $(PY) -m stages.verify --run $(RUN)

endif

params: .venv/installed
	@exec $(PY) -m stages.show_params

dashboard: .venv/installed
	@exec $(PY) -m stages.dashboard

# From the saved models alone: nothing of the run is made or read but models/runs/$(RUN)/.
predict: .venv/installed
	@exec $(PY) -m stages.predict_battles

data: .venv/installed
	@exec $(PY) -m stages.data

# A small real language model from the package index.
backbone: .venv/installed
	@exec $(PY) -m stages.backbone

submit: .venv/installed
	@exec $(PY) -m stages.send

compare: .venv/installed
	@exec $(PY) -m stages.compare

bundle: .venv/installed
	@exec $(PY) -m stages.bundle

# The output of one run only.
clean:
	@exec $(if $(wildcard $(PY)),$(PY),$(or $(PYTHON),python3)) -m stages.clean

# ---------------------------------------------------------------- the project itself

.PHONY: test test-real torture lint audit bench
test: .venv/installed-dev
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false .venv/bin/python -m pytest -n 2 --dist loadfile

# All of tests/robustness: many kills, full disks. Takes hours; TORTURE=10 takes ten kills.
torture: .venv/installed-dev
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false TORTURE=$${TORTURE:-50} \
	  .venv/bin/python -m pytest -s tests/robustness

# A real language model, from the package index to a trained fold: takes from minutes on a GPU to hours on a CPU.
test-real: .venv/installed-dev
	@$(PY) -m tests.real_tokenizers
	REAL=1 HF_HUB_OFFLINE=1 .venv/bin/python -m pytest -o addopts= -s tests/real

lint: .venv/installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

# Licences and known advisories of the pinned requirements.
audit: .venv/installed-dev
	@$(PY) -m stages.audit

bench: .venv/installed-dev
	@$(PY) -m benchmarks.run $(if $(TRAIN),--csv="$$ARENA_TRAIN")
