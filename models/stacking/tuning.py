"""Tuning the residual booster: an Optuna study whose objective is the mean log loss of inner folds.

The inner folds are the fold table's without the outer one. The number of rounds, zero included, is not drawn: each
trial grows its boosters in step and reads it off their mean loss. A trial that is behind the others is pruned: it is
compared at the same sum of learning rates, not at the same round, or slow learners would never finish.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from battles.files import content_hash
from models.stacking.boosting_cv import Growth, InnerFold, grow
from models.stacking.residual_booster import Recipe, fixed_params
from models.stacking.settings import Stack
from models.stacking.studies import Where, annotate, finished, open_study, value
from oof.probabilities import softmax

# Sums of learning rates at which trials are compared.
MARKS = (0.5, 1.0, 2.0, 4.0)
# What is tried first, with and without randomised thresholds: slow, shallow trees on few columns at a time.
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
    """The best trials' recipes and mean inner OOF (n, 3); the best one's inner loss, optimistic as the best of many."""

    recipes: Sequence[Recipe]
    loss: float
    probabilities: np.ndarray


def first_recipes(settings: Stack, randomised: bool) -> list[dict[str, Any]]:
    """What is tried first and second, the learning rate inside the range of the settings.

    `randomised`: extremely randomised thresholds come first (better on top of a margin), else second.
    """
    low, high = settings.learning_rate
    rate = min(max(FIRST["learning_rate"], low), high)
    return [{**FIRST, "learning_rate": rate, "extra_trees": extra} for extra in (randomised, not randomised)]


def suggest(trial: optuna.Trial, rows: int, settings: Stack) -> dict[str, Any]:
    """The search space; its regularisation reaches far beyond the usual, as few meta-features overfit quickly."""
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


def tune(
    inner: Sequence[InnerFold],
    scored: int,
    settings: Stack,
    where: Where,
    name: str,
    first: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
) -> Tuned:
    """Runs the study `name`, `first` recipes first, up to `settings.trials` finished or pruned trials.

    A trial is grown and scored on the first `scored` inner folds. The `settings.bag` best trials are
    grown on all inner folds and become recipes, with the number of rounds that is best there. `about` (JSON values)
    is kept as the study's attributes. A study that is already there goes on where it stopped (see `open_study`).
    """
    fixed = fixed_params(settings.seed, settings.threads, settings.max_bin)
    rows = sum(len(fold.labels) for fold in inner)
    study = open_study(where, name, settings.seed, first, about)
    kept: dict[int, Growth] = {}

    def objective(trial: optuna.Trial) -> float:
        started = time.perf_counter()
        params = fixed | suggest(trial, rows, settings)
        trial.set_user_attr("params_hash", content_hash(params)[:16])
        growth = grow(
            inner[:scored], params, settings.rounds, settings.patience, _watch(trial, params["learning_rate"])
        )
        kept[trial.number] = growth
        trial.set_user_attr("rounds", growth.rounds)
        trial.set_user_attr("fold_losses", growth.losses[growth.rounds].tolist())
        trial.set_user_attr("margin_loss", growth.start)
        trial.set_user_attr("seconds", round(time.perf_counter() - started, 3))
        return growth.loss

    done = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))
    study.optimize(objective, n_trials=max(settings.trials - done, 0))
    best = finished(study)[: settings.bag]
    recipes, logs = [], []
    for place, trial in enumerate(best):
        growth = kept.get(trial.number)
        if growth is None or scored < len(inner):
            growth = grow(inner, fixed | trial.params, settings.rounds, settings.patience)
        recipes.append(Recipe({**fixed, **trial.params, "seed": settings.seed + place}, growth.rounds))
        logs.append(np.log(growth.probabilities))
    annotate(study)
    return Tuned(recipes, value(best[0]), softmax(np.mean(logs, axis=0)))


def _watch(trial: optuna.Trial, learning_rate: float) -> Callable[[int, float], None]:
    """Reports the lowest loss so far each time the sum of learning rates passes a mark, and prunes there."""
    passed = 0

    def watch(rounds: int, lowest: float) -> None:
        nonlocal passed
        while passed < len(MARKS) and rounds * learning_rate >= MARKS[passed]:
            trial.report(lowest, passed)
            passed += 1
            if trial.should_prune():
                raise optuna.TrialPruned

    return watch
