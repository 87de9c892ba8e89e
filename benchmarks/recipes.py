"""What options of the recipe are worth on the embedded sample, whose true vote probabilities are known.

    python -m benchmarks.recipes [--run sample] [--seeds 3] [--only dora rslora]

A finished run of the sample gives the battles and the tiny Llama, which is trained here without quantisation: on two
thirds of the battles, in five folds, once for each seed of the training. The other third, of other prompts, is what
some options learn from beside them: votes, a first stage, a teacher. It is also what the folds' models together and the
one model of their adapters are compared on. Loss is over the true probabilities. A difference is that to the option
named beside it, mean over the seeds, with its standard error over battles, and its spread: the standard deviation over
seeds. A tiny model of an invented world says whether an option works, not what it gains with a large one.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from transformers.utils import logging

from battles.files import read_json, read_table
from battles.folds import make_folds
from battles.paths import RunPaths
from battles.schema import TEXTS
from benchmarks.sample_reading import reader
from models.transformer.base_model import open_base, open_mean
from models.transformer.data.training_set import TrainingSet
from models.transformer.library_warnings import quiet
from models.transformer.settings import Transformer
from oof.crossfit import crossfit, mean_job, predict_test, select_models
from oof.model_store import ModelStore
from oof.table import MEAN
from stages.params_file import merge

BASE, THIRDS, FOLDS, SPLIT = "llama", 3, 5, 20
START = "as in the sample"
FURTHER, STAGE, TEACHER = "further battles", "a first stage on them", "a teacher trained on them"
FOLDS_TOGETHER, ONE_MODEL = "mean of the folds, on them", "one model of the folds' adapters"
SHOWN_ONCE = {"epochs": 1}


@dataclass(frozen=True)
class Option:
    """Settings that are merged into the base's, what the further battles are for, and the option to compare with."""

    changes: Mapping[str, Any]
    gets: str | None = None
    beside: str = START


OPTIONS = {
    START: Option({}),
    "both orders, in one step": Option({"swap_training": "paired", **SHOWN_ONCE}),
    "both orders, anywhere": Option({"swap_training": "both", **SHOWN_ONCE}),
    "head drawn at random": Option({"head_from": None}),
    "head of two layers": Option({"head_from": None, "head": "mlp"}, beside="head drawn at random"),
    "names of models": Option({"names_weight": 0.1}),
    "rank 64": Option({"lora": {"rank": 64, "alpha": 128}}),
    "rank 64, rsLoRA": Option({"lora": {"rank": 64, "alpha": 64, "rslora": True}}, beside="rank 64"),
    "DoRA": Option({"lora": {"dora": True}}),
    "LoRA+": Option({"lora": {"plus_ratio": 4.0}}),
    "LoRA dropout": Option({"lora": {"dropout": 0.05}}),
    "NF4": Option({"quantization": "nf4"}),
    "96 tokens": Option({"max_length": 96}),
    "96 tokens in prediction alone": Option({"predict_max_length": 96}),
    "cut in the middle": Option({"truncation": "middle"}),
    "cut on the left": Option({"truncation": "left"}),
    "cut in proportion": Option({"truncation": "proportional"}),
    "cut in proportion, 96 tokens": Option({"truncation": "proportional", "max_length": 96}, beside="96 tokens"),
    "turns interleaved, 96 tokens": Option(
        {"template": {"turns": "interleaved"}, "max_length": 96}, beside="96 tokens"
    ),
    FURTHER: Option({}, FURTHER),
    STAGE: Option({}, STAGE),
    TEACHER: Option({"teacher": {"file": "its rows", "weight": 0.3}}, TEACHER),
    "the same, temperature 5, cosine": Option(
        {"teacher": {"file": "its rows", "weight": 0.3, "temperature": 5.0, "cosine": 1.0}}, TEACHER
    ),
    FOLDS_TOGETHER: Option({}, FOLDS_TOGETHER, beside=FOLDS_TOGETHER),  # of other battles than all others
    ONE_MODEL: Option({}, ONE_MODEL, beside=FOLDS_TOGETHER),
}


@dataclass(frozen=True)
class Sample:
    """Battles of a run's sample, to cross-fit on and further ones, with their true probabilities (battles, 3)."""

    own: pd.DataFrame
    further: pd.DataFrame
    truth: np.ndarray
    truth_of_further: np.ndarray

    @classmethod
    def of(cls, paths: RunPaths) -> "Sample":
        """A third, of prompts of its own, is put aside."""
        battles = read_table(paths.train_battles)
        aside = (make_folds(battles, THIRDS, SPLIT)["fold"] == 0).to_numpy()
        own, further = (battles[rows].reset_index(drop=True) for rows in (~aside, aside))
        truth_of = reader(read_json(paths.stamp("sample"), sealed=True)["settings"]["seed"])
        truths = (
            np.array([truth_of(texts) for texts in part[list(TEXTS)].itertuples(index=False, name=None)])
            for part in (own, further)
        )
        return cls(own, further, *truths)


def losses(sample: Sample, settings: Transformer, gets: str | None, folder: Path) -> np.ndarray:
    """Log loss over the true probabilities of each of the own battles, (battles,), by out-of-fold ones; of each of the
    further battles where they are predicted."""
    if gets in (FOLDS_TOGETHER, ONE_MODEL):
        return _losses(sample.truth_of_further, _of_further(sample, settings, gets == ONE_MODEL, folder))
    taught = None
    if gets in (STAGE, TEACHER):
        plain = settings.model_copy(update={"teacher": None})
        both = TrainingSet.of(pd.concat([sample.own, sample.further], ignore_index=True))
        fit, _ = open_base(BASE, plain, both, None, folder / "further")
        own, further = np.split(np.arange(len(both.labels)), [len(sample.own)])
        before = folder / "further" / "fold-0"
        before.mkdir()
        rows = fit(0, further, own, before).valid[MEAN]
        if gets == TEACHER:
            taught = np.repeat(rows[None], FOLDS + 1, axis=0)
        else:
            settings = settings.model_copy(update={"init_from": str(before / "model"), "head_from": None})
    extra = sample.further if gets == FURTHER else None
    fit, _ = open_base(BASE, settings, TrainingSet.of(sample.own, extra, taught), None, folder)
    folds = make_folds(sample.own, FOLDS, SPLIT)
    return _losses(sample.truth, crossfit(folds, None, ModelStore(folder, {}), fit).valid[MEAN])


def _of_further(sample: Sample, settings: Transformer, jointly: bool, folder: Path) -> np.ndarray:
    """Probabilities (battles, 3) of the further battles, by the models of the folds or, jointly, of their mean."""
    training, folds = TrainingSet.of(sample.own), make_folds(sample.own, FOLDS, SPLIT)
    store, every = ModelStore(folder, {}), [*range(FOLDS)]
    fit, predict = open_base(BASE, settings, training, sample.further, folder)
    crossfit(folds, None, store, fit)
    jobs, _ = select_models(folds, every, store, "mean", training.labels)
    if jointly:
        jobs = [mean_job(folds, every)]
        store.fit_once(jobs[0], open_mean(BASE, settings, training, sample.further, folder, every))
    return predict_test(jobs, store, predict)[MEAN]


def _losses(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    of_battles: np.ndarray = -(truth * np.log(found)).sum(axis=1)
    return of_battles


def described(name: str, found: Mapping[str, np.ndarray]) -> str:
    """A line of the table: the option's loss, and how it differs from the one that it is compared with; `found` are
    losses (seeds, battles) by option."""
    own, beside = found[name], OPTIONS[name].beside
    text = f"{name:32} {own.mean():8.4f}"
    if name == beside or beside not in found:
        return text
    gap = own - found[beside]
    error = gap.mean(axis=0).std(ddof=1) / np.sqrt(gap.shape[1])
    spread = gap.mean(axis=1).std(ddof=1) if len(gap) > 1 else np.nan
    return f"{text} {gap.mean():+9.4f} ± {error:.4f}, spread {spread:.4f}, beside: {beside}"


def measure(sample: Sample, base: Transformer, names: Sequence[str], seeds: int, folder: Path) -> dict[str, np.ndarray]:
    """Losses (seeds, battles) by option; each is printed as soon as it is there."""
    found: dict[str, np.ndarray] = {}
    for name in names:
        option, of_seeds = OPTIONS[name], []
        for seed in range(seeds):
            values = merge(base.model_dump(mode="json"), {**option.changes, "seed": base.seed + 100 * seed})
            settings, place = Transformer.model_validate(values), folder / f"{len(found)}-{seed}"
            (place / "further").mkdir(parents=True)
            of_seeds.append(losses(sample, settings, option.gets, place))
        found[name] = np.stack(of_seeds)
        print(described(name, found), flush=True)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--run", default="sample", help="a finished run of the embedded sample")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument(
        "--only", nargs="+", default=list(OPTIONS), help="options, beside those they are compared to"
    )
    given = arguments.parse_args()
    quiet()
    logging.set_verbosity_error()
    paths = RunPaths(given.run)
    values = read_json(paths.stamp(BASE), sealed=True)["settings"]
    base = Transformer.model_validate(merge(values, {"quantization": "none", "eval_battles": 0}))
    with tempfile.TemporaryDirectory() as folder:
        measure(Sample.of(paths), base, given.only, given.seeds, Path(folder))


if __name__ == "__main__":
    main()
