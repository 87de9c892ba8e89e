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
from models.stacking.boosters import InitScore, fit_booster
from models.stacking.inner_cv import MetaModel
from models.stacking.level1_data import Level1Data
from models.stacking.logistic import Regression, Strength
from models.stacking.meta_features import Meta, make_meta
from models.stacking.residual_booster import Design, columns, fixed_params
from models.stacking.settings import Stack
from models.stacking.studies import StudyPlace
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
    data = Level1Data(meta, labels, folds)
    rest, out = data.rows(learn), meta.rows(held)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    trials = 0
    for name, fit in (("LightGBMTunerCV", tuner), ("residual booster", residual)):
        began = time.process_time()
        predicted, trials = fit(rest, out, trials)
        seconds, loss = time.process_time() - began, log_loss(predicted, labels[held])
        print(
            f"{name}: {trials} trials, {seconds:.0f} s of CPU, log loss on {held.sum()} other rows {loss:.5f}",
            flush=True,
        )


def tuner(data: Level1Data, out: Meta, _: int) -> tuple[np.ndarray, int]:
    """Predictions of `out` (n, 3) by the booster that LightGBMTunerCV ends with, and how many trials it took."""
    settings = Stack()
    params = fixed_params(settings.seed, 1, settings.max_bin) | {"metric": "multi_logloss", "boost_from_average": True}
    # Without a margin its two columns are constant; LightGBM drops them.
    design = Design(bases=True, symmetric=False)
    table, held = (columns(part, np.zeros((len(part), 3)), design) for part in (data.meta, out))
    search = LightGBMTunerCV(
        params,
        lgb.Dataset(table, data.labels, free_raw_data=False),
        num_boost_round=settings.rounds,
        folds=PredefinedSplit(data.folds),
        callbacks=[lgb.early_stopping(settings.patience, verbose=False)],
        optuna_seed=settings.seed,
        show_progress_bar=False,
        return_cvbooster=True,
    )
    search.run()
    booster = lgb.train(search.best_params, lgb.Dataset(table, data.labels), search.get_best_booster().best_iteration)
    return np.asarray(booster.predict(held)), len(search.study.trials)


def residual(data: Level1Data, out: Meta, trials: int) -> tuple[np.ndarray, int]:
    """The same of this project's tuned booster."""

    def regression(part: Meta, votes: np.ndarray) -> MetaModel:
        return Regression.fit(part, votes, Strength(), features=False)

    settings = Stack(trials=trials)
    init_score = InitScore(regression(data.meta, data.labels), regression)
    design = Design(bases=True, symmetric=False)
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "study.journal"
        booster, _ = fit_booster(init_score, design, data, settings, StudyPlace(journal, "all rows"), "booster")
    return softmax(booster.logits(out)), trials


if __name__ == "__main__":
    main()
