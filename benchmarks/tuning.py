"""The tuning alone, not nested, beside optuna-integration's LightGBMTunerCV at as many trials.

    python -m benchmarks.tuning [--table lmsys_base_predictions.parquet | --rows N --columns C]

Both tune on the same five folds of the rows, with the same limit of rounds, the same patience and one thread; a sixth
part of the rows scores what comes out. LightGBMTunerCV tunes LightGBM from scratch, step by step, in a number of
trials that is its own; ours tunes the booster on the residual of the regression. `--table` takes real predictions
(see `benchmarks.stackers`), without it battles are drawn (see `benchmarks.stack_size`).
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import lightgbm as lgb
import numpy as np
import optuna
from optuna_integration.lightgbm import LightGBMTunerCV
from sklearn.model_selection import PredefinedSplit

from benchmarks.stack_size import draw
from benchmarks.stackers import read
from models.stacking.boosters import Start, fit_booster
from models.stacking.inner_cv import Level1
from models.stacking.logistic import Regression, Strength
from models.stacking.meta_features import Meta, make_meta
from models.stacking.residual_booster import columns, fixed_params
from models.stacking.settings import Stack
from oof.metrics import log_loss
from oof.probabilities import softmax


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path)
    parser.add_argument("--rows", type=int, default=57477)
    parser.add_argument("--columns", type=int, default=60)
    given = parser.parse_args()
    if given.table:
        probabilities, labels = read(given.table)
        meta = make_meta(probabilities)
    else:
        meta, labels = draw(given.rows, given.columns)
    folds = np.random.default_rng(2).integers(0, 6, len(labels))
    learn, held = folds < 5, folds == 5
    rows = meta.rows(learn), labels[learn], folds[learn]
    out = meta.rows(held)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    trials = 0
    for name, fit in (("LightGBMTunerCV", tuner), ("residual booster", residual)):
        began = time.process_time()
        predicted, trials = fit(*rows, out, trials)
        seconds, loss = time.process_time() - began, log_loss(predicted, labels[held])
        print(
            f"{name}: {trials} trials, {seconds:.0f} s of CPU, log loss on {held.sum()} other rows {loss:.5f}",
            flush=True,
        )


def tuner(meta: Meta, labels: np.ndarray, folds: np.ndarray, out: Meta, _: int) -> tuple[np.ndarray, int]:
    """Predictions of `out` (n, 3) by the booster that LightGBMTunerCV ends with, and how many trials it took."""
    settings = Stack()
    params = fixed_params(settings.seed, 1, settings.max_bin) | {"metric": "multi_logloss", "boost_from_average": True}
    # Without a margin its two columns are constant; LightGBM drops them.
    table, held = (columns(part, np.zeros((len(part), 3)), bases=True) for part in (meta, out))
    search = LightGBMTunerCV(
        params,
        lgb.Dataset(table, labels, free_raw_data=False),
        num_boost_round=settings.rounds,
        folds=PredefinedSplit(folds),
        callbacks=[lgb.early_stopping(settings.patience, verbose=False)],
        optuna_seed=settings.seed,
        show_progress_bar=False,
        return_cvbooster=True,
    )
    search.run()
    booster = lgb.train(search.best_params, lgb.Dataset(table, labels), search.get_best_booster().best_iteration)
    return np.asarray(booster.predict(held)), len(search.study.trials)


def residual(meta: Meta, labels: np.ndarray, folds: np.ndarray, out: Meta, trials: int) -> tuple[np.ndarray, int]:
    """The same of this project's tuned booster."""

    def regression(part: Meta, votes: np.ndarray) -> Level1:
        return Regression.fit(part, votes, Strength(), features=False, position=True)

    settings = Stack(trials=trials)
    start = Start(regression(meta, labels), regression, bases=True)
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "study.journal"
        booster, _ = fit_booster(start, meta, labels, folds, False, settings, journal, "tuning")
    return softmax(booster.logits(out)), trials


if __name__ == "__main__":
    main()
