"""Tuning the residual booster: an Optuna study in a journal file, its objective the mean log loss of inner folds.

The inner folds are the fold table's without the outer one. The number of rounds, zero included, is not drawn: each
trial grows its boosters in step and reads it off their mean loss.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from models.growth import InnerFold, grow
from models.residual import Recipe, fixed_params
from models.stack_settings import Stack

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
    inner: Sequence[InnerFold], settings: Stack, journal: Path, name: str, first: Sequence[Mapping[str, Any]]
) -> Tuned:
    """Runs the study `name`, `first` recipes first, up to `settings.trials` finished trials.

    The `settings.bag` best trials become recipes.

    A study that is already in the journal goes on where it stopped; a trial that a killed process left
    running is marked failed.
    """
    fixed = fixed_params(settings.seed, settings.threads, settings.max_bin)
    rows = sum(len(fold.labels) for fold in inner)
    study = _study(journal, name, settings, first)
    kept: dict[int, np.ndarray] = {}

    def objective(trial: optuna.Trial) -> float:
        started = time.perf_counter()
        growth = grow(inner, fixed | suggest(trial, rows, settings), settings.rounds, settings.patience)
        kept[trial.number] = growth.probabilities
        trial.set_user_attr("rounds", growth.rounds)
        trial.set_user_attr("fold_losses", growth.losses[growth.rounds].tolist())
        trial.set_user_attr("margin_losses", growth.losses[0].tolist())
        trial.set_user_attr("seconds", round(time.perf_counter() - started, 3))
        return growth.loss

    finished = _finished(study)
    study.optimize(objective, n_trials=max(settings.trials - len(finished), 0))
    best = sorted(_finished(study), key=_loss)[: settings.bag]
    recipes = []
    for place, trial in enumerate(best):
        recipe = Recipe({**fixed, **trial.params, "seed": settings.seed + place}, int(trial.user_attrs["rounds"]))
        recipes.append(recipe)
        if trial.number not in kept:
            kept[trial.number] = grow(inner, fixed | trial.params, recipe.rounds, settings.patience).probabilities
    logs = np.mean([np.log(kept[trial.number]) for trial in best], axis=0)
    return Tuned(recipes, _loss(best[0]), np.exp(logs) / np.exp(logs).sum(axis=1, keepdims=True))


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _loss(trial: FrozenTrial) -> float:
    if trial.value is None:
        raise RuntimeError(f"trial {trial.number} finished without a value")
    return trial.value


def _study(journal: Path, name: str, settings: Stack, first: Sequence[Mapping[str, Any]]) -> optuna.Study:
    journal.parent.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.create_study(storage=storage, study_name=name, direction="minimize", load_if_exists=True)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    started = len(study.get_trials(deepcopy=False))
    if not started:
        for recipe in first:
            study.enqueue_trial(dict(recipe))
    # A study that goes on must not draw the random start again.
    study.sampler = optuna.samplers.TPESampler(
        seed=settings.seed + started, multivariate=True, n_startup_trials=8, constant_liar=False
    )
    return study
