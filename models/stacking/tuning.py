"""Tuning the residual booster: an Optuna study whose objective is the mean log loss of inner folds.

The inner folds are the fold table's without the outer one. The number of rounds, zero included, is not drawn: it is
read off each trial's boosting curve. A trial that is behind the others is pruned. Trials are compared at the same sum
of learning rates, not at the same round, else a low learning rate would never get to its end.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna

from battles.files import content_hash
from models.stacking.boosting_cv import BoostingCurve, InnerFold, boost_cv
from models.stacking.contrasts import to_logs
from models.stacking.residual_booster import Recipe, fixed_params
from models.stacking.settings import Stack
from models.stacking.studies import DECIMALS, StudySpec, annotate, finished, open_study, run_trials, value
from oof.probabilities import softmax

# Sums of learning rates at which trials are compared.
MARKS = (0.5, 1.0, 2.0, 4.0)
# The first two trials, with and without randomised thresholds: a low learning rate, shallow trees, few columns each.
FIRST: Mapping[str, Any] = {
    "num_leaves": 12,
    "max_depth": 6,
    "learning_rate": 0.03,
    "min_child_samples": 20,
    "lambda_l1": 0.01,
    "lambda_l2": 20.0,
    "feature_fraction": 0.3,
    "bagging_fraction": 0.7,
}


@dataclass(frozen=True)
class Tuned:
    """The outcome of a study.

    recipes: of the best trials, the best first. loss: the best trial's inner log loss, which is optimistic, as it is
    the lowest of many. probabilities (n, 3): the recipes' out-of-fold logarithmic mean.
    """

    recipes: Sequence[Recipe]
    loss: float
    probabilities: np.ndarray


def first_recipes(settings: Stack, randomised: bool) -> list[dict[str, Any]]:
    """Params of the first two trials, the learning rate moved into the range of the settings.

    `randomised`: the one with extremely randomised thresholds comes first, which is better on top of the bases.
    """
    low, high = settings.learning_rate
    rate = min(max(FIRST["learning_rate"], low), high)
    return [{**FIRST, "learning_rate": rate, "extra_trees": extra} for extra in (randomised, not randomised)]


def suggest(trial: optuna.trial.BaseTrial, rows: int, settings: Stack) -> dict[str, Any]:
    """Draws params of a trial for `rows` training rows.

    The ranges of regularisation reach far beyond the usual ones, as boosters on few meta-features overfit quickly.
    """
    return {
        "num_leaves": trial.suggest_int("num_leaves", 3, 24, log=True),
        "max_depth": trial.suggest_int("max_depth", 2, 7),
        "learning_rate": trial.suggest_float("learning_rate", *settings.learning_rate, log=True),
        "min_child_samples": trial.suggest_int("min_child_samples", 5, max(rows // 5, 20), log=True),
        "lambda_l1": trial.suggest_float("lambda_l1", 1e-3, 100, log=True),
        "lambda_l2": trial.suggest_float("lambda_l2", 1e-2, 1e3, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.1, 1, log=True),
        "bagging_fraction": trial.suggest_float("bagging_fraction", 0.4, 1),
        "extra_trees": trial.suggest_categorical("extra_trees", [False, True]),
    }


def search_space(rows: int, settings: Stack) -> Mapping[str, optuna.distributions.BaseDistribution]:
    """The range of every param that `suggest` draws."""
    trial = optuna.trial.FixedTrial(first_recipes(settings, randomised=True)[0])
    suggest(trial, rows, settings)
    return trial.distributions


def tune(
    inner: Sequence[InnerFold],
    compared: int,
    settings: Stack,
    spec: StudySpec,
    count: Callable[[int], None] = lambda trials: None,
) -> Tuned:
    """Runs a study up to `settings.trials` complete or pruned trials; one that is there goes on where it stopped.

    `count` is called with 1 after each trial, and with how many were there at the start.

    Trials are compared on the first `compared` inner folds. The best `settings.bag` of them are then boosted on all
    inner folds and become recipes, with the number of rounds that is best there.
    """
    fixed = fixed_params(settings.seed, settings.threads, settings.max_bin)
    rows = sum(len(fold.labels) for fold in inner)
    study = open_study(spec)
    curves: dict[int, BoostingCurve] = {}

    def objective(trial: optuna.Trial) -> float:
        started = time.perf_counter()
        params = fixed | suggest(trial, rows, settings)
        trial.set_user_attr("params_hash", content_hash(params)[:16])
        prune = _pruning(trial, params["learning_rate"])
        curve = boost_cv(inner[:compared], params, settings.rounds, settings.patience, prune)
        curves[trial.number] = curve
        trial.set_user_attr("rounds", curve.rounds)
        trial.set_user_attr("fold_losses", np.round(curve.losses[curve.rounds], DECIMALS).tolist())
        trial.set_user_attr("margin_loss", round(curve.margin_loss, DECIMALS))
        trial.set_user_attr("seconds", round(time.perf_counter() - started, 3))
        return round(curve.loss, DECIMALS)

    for ended in run_trials(study, objective, settings.trials, spec.first, settings.seed):
        count(ended)
    best = finished(study)[: settings.bag]
    recipes, logs = [], []
    for place, trial in enumerate(best):
        curve = curves.get(trial.number)
        if curve is None or compared < len(inner):
            curve = boost_cv(inner, fixed | trial.params, settings.rounds, settings.patience)
        recipes.append(Recipe({**fixed, **trial.params, "seed": settings.seed + place}, curve.rounds))
        logs.append(to_logs(curve.probabilities))
    annotate(study)
    return Tuned(recipes, value(best[0]), softmax(np.mean(logs, axis=0)))


def _pruning(trial: optuna.Trial, learning_rate: float) -> Callable[[int, float], None]:
    """Reports the lowest loss so far whenever the sum of learning rates passes a mark, and prunes there."""
    passed = 0

    def after_round(rounds: int, lowest: float) -> None:
        nonlocal passed
        while passed < len(MARKS) and rounds * learning_rate >= MARKS[passed]:
            trial.report(round(lowest, DECIMALS), passed)
            passed += 1
            if trial.should_prune():
                raise optuna.TrialPruned

    return after_round
