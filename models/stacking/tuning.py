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
from optuna.trial import FrozenTrial

from battles.files import content_hash
from models.stacking.boosting_cv import BoostingCurve, InnerFold, boost_cv
from models.stacking.residual_booster import Recipe, fixed_params
from models.stacking.selection import leads
from models.stacking.settings import Stack
from models.stacking.studies import DECIMALS, StudySpec, annotate, finished, open_study, run_trials, value
from oof.metrics import row_losses

# Sums of learning rates at which trials are compared.
MARKS = (0.5, 1.0, 2.0, 4.0)
# The first two trials, with and without extremely randomised thresholds (Geurts et al. 2006): small trees of which each
# sees few columns, hardly regularised otherwise. With a thousand battles strong penalties and large leaves cost more
# than they hold back: rare properties, such as a refusal, decide few battles.
FIRST: Mapping[str, Any] = {
    "num_leaves": 12,
    "max_depth": 6,
    "learning_rate": 0.05,
    "min_child_samples": 5,
    "lambda_l1": 0.01,
    "lambda_l2": 0.1,
    "feature_fraction": 0.4,
    "bagging_fraction": 0.75,
}


@dataclass(frozen=True)
class Tuned:
    """The outcome of a study.

    recipes: that of the chosen trial, with as many seeds as there are boosters in a bag. loss: its inner log loss,
    which is optimistic, as it was chosen for it. probabilities (n, 3): its out-of-fold ones.
    """

    recipes: Sequence[Recipe]
    loss: float
    probabilities: np.ndarray


def first_recipes(settings: Stack) -> list[dict[str, Any]]:
    """Params of the first two trials, the learning rate moved into the range of the settings."""
    low, high = settings.learning_rate
    rate = min(max(FIRST["learning_rate"], low), high)
    return [{**FIRST, "learning_rate": rate, "extra_trees": extra} for extra in (True, False)]


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
    trial = optuna.trial.FixedTrial(first_recipes(settings)[0])
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

    Trials are compared on the first `compared` inner folds. The chosen one (see `_chosen`) becomes `settings.bag`
    recipes, with the number of rounds that is best on all inner folds.
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
        curves[trial.number] = curve = boost_cv(inner[:compared], params, settings.rounds, settings.patience, prune)
        trial.set_user_attr("rounds", curve.rounds)
        trial.set_user_attr("fold_losses", np.round(curve.losses[curve.rounds], DECIMALS).tolist())
        trial.set_user_attr("margin_loss", round(curve.margin_loss, DECIMALS))
        trial.set_user_attr("seconds", round(time.perf_counter() - started, 3))
        return round(curve.loss, DECIMALS)

    for ended in run_trials(study, objective, settings.trials, spec.first, settings.seed):
        count(ended)

    whole = curves if compared == len(inner) else {}

    def curve(trial: FrozenTrial) -> BoostingCurve:
        """The trial on all inner folds."""
        if trial.number not in whole:
            whole[trial.number] = boost_cv(inner, fixed | trial.params, settings.rounds, settings.patience)
        return whole[trial.number]

    trial, chosen = _chosen(finished(study), curve, inner)
    annotate(study, trial)
    recipes = [
        Recipe({**fixed, **trial.params, "seed": settings.seed + place}, chosen.rounds) for place in range(settings.bag)
    ]
    return Tuned(recipes, value(trial), chosen.probabilities)


def _chosen(
    complete: Sequence[FrozenTrial], curve: Callable[[FrozenTrial], BoostingCurve], inner: Sequence[InnerFold]
) -> tuple[FrozenTrial, BoostingCurve]:
    """The first trial, unless the best leads it by more than two paired standard errors; and its curve.

    complete: trials, the best first. The lowest of twenty losses is expected to be some two standard errors ahead by
    chance alone. With a thousand battles it is rarely of params that are better than the known good ones on other rows;
    the more battles, the sooner it is.
    """
    best, first = complete[0], min(complete, key=lambda trial: trial.number)
    if best is first:
        return first, curve(first)
    ahead, start = (
        np.concatenate([row_losses(curve(trial).probabilities[fold.rows], fold.labels) for fold in inner])
        for trial in (best, first)
    )
    grouped = [fold.groups for fold in inner if fold.groups is not None]
    trial = best if leads(ahead, start, np.concatenate(grouped) if grouped else None, 2) else first
    return trial, curve(trial)


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
