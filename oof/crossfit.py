"""K-fold cross-fitting of a base model: fold by fold, resumable; and the test battles, from the saved models."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from oof.metrics import log_loss
from oof.model_store import FitModel, FoldResult, Job, ModelStore, PredictTest, Variants
from oof.table import MEAN

TestFrom = Literal["mean", "best", "refit", "adapters"]


@dataclass(frozen=True)
class CrossFit:
    """Out-of-fold predictions `valid` (rows, 3), NaN where a fold was not run; seconds and devices of all models."""

    valid: Variants
    train_seconds: float
    inference_seconds: float
    device: str
    folds_run: list[int]


def crossfit(
    folds: pd.DataFrame, wanted: list[int] | None, store: ModelStore, fit: FitModel, refit: bool = False
) -> CrossFit:
    """Trains the wanted folds (all by default) that are not there yet, and puts together those that are finished.

    With `refit` one more model is trained, on all rows. Raises BadInput where a finished model would be replaced.
    """
    numbers = folds["fold"].to_numpy()
    every = sorted(set(numbers.tolist()))
    asked = every if wanted is None else wanted
    for fold in asked:
        store.fit_once(_fold_job(numbers, fold), fit)
    results = {fold: store.load(_fold_job(numbers, fold)) for fold in asked}
    models = [*results.values()]
    if refit:
        store.fit_once(_refit_job(numbers), fit)
        models.append(store.load(_refit_job(numbers)))
    return CrossFit(
        _assembled(numbers, results),
        sum(result.train_seconds for result in models),
        sum(result.inference_seconds for result in models),
        ", ".join(sorted({result.device for result in models})),
        sorted(results),
    )


def select_models(
    folds: pd.DataFrame, folds_run: list[int], store: ModelStore, test_from: TestFrom, votes: np.ndarray
) -> tuple[list[Job], str]:
    """The models whose mean predicts the test battles, and in words which they are.

    `mean` takes those of all folds that were run; `best` the one of the least log loss on its own rows' `votes`, class
    numbers (rows,); `refit` the model of all rows; `adapters` that of `mean_job`, where it may stand for the folds.
    """
    numbers = folds["fold"].to_numpy()
    jobs = [_fold_job(numbers, fold) for fold in folds_run]
    if test_from == "refit":
        return [_refit_job(numbers)], "refit"
    if test_from == "best":
        losses = [log_loss(store.load(job).valid[MEAN], votes[job.valid_rows]) for job in jobs]
        best = int(np.argmin(losses))
        return [jobs[best]], f"fold {folds_run[best]}"
    run = ", ".join(map(str, folds_run))
    if test_from == "adapters" and store.is_taken(mean_job(folds, folds_run)):
        return [mean_job(folds, folds_run)], f"one model with the mean of the adapters of folds {run}"
    return jobs, f"mean of folds {run}"


def mean_job(folds: pd.DataFrame, folds_run: list[int]) -> Job:
    """The model that is made of those of the finished folds: it learns from no row and scores none."""
    none = np.empty(0, dtype=np.int64)
    name = f"adapters-{'-'.join(map(str, folds_run))}"
    return Job(name, int(folds["fold"].max()) + 2, none, none, name)


def predict_test(jobs: list[Job], store: ModelStore, predict: PredictTest) -> Variants:
    """The test battles' predictions (battles, 3), the mean over these models; saved ones are asked only where needed.

    The mean of a variant is over the models that have it: a battle that none read in the second order is NaN there.
    """
    return mean_of_models([store.test_once(job, predict) for job in jobs])


def mean_of_models(predicted: list[Variants]) -> Variants:
    """The mean (battles, 3) of each variant over the models that have it, NaN where none has."""
    return {name: _mean(np.stack([one[name] for one in predicted])) for name in predicted[0]}


def _fold_job(numbers: np.ndarray, fold: int) -> Job:
    return Job(f"fold-{fold}", fold, np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold), "fold")


def _refit_job(numbers: np.ndarray) -> Job:
    every_row = np.arange(len(numbers))
    return Job("refit", int(numbers.max()) + 1, every_row, every_row[:0], "refit")


def _assembled(numbers: np.ndarray, results: dict[int, FoldResult]) -> Variants:
    names = list(next(iter(results.values())).valid)
    valid = {name: np.full((len(numbers), 3), np.nan) for name in names}
    for fold, result in results.items():
        for name in names:
            valid[name][numbers == fold] = result.valid[name]
    return valid


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean of (models, rows, 3) over the models that are not NaN, NaN where none is."""
    there = ~np.isnan(values)
    sums, counts = np.where(there, values, 0.0).sum(axis=0), there.sum(axis=0)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
