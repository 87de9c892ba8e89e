"""Growing boosters of all inner folds in step, and reading the number of rounds off their mean loss."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np

from battles.swap import swap_probabilities
from models.stacking.inner_cv import Fit, cross_fitted
from models.stacking.meta_features import Meta
from models.stacking.residual_booster import dataset
from oof.metrics import row_losses
from oof.probabilities import softmax


@dataclass(frozen=True)
class InnerFold:
    """One inner fold: numbers of its held-out rows, its data sets, the held-out rows' margin logits and votes."""

    rows: np.ndarray
    data: lgb.Dataset
    held: lgb.Dataset
    margin: np.ndarray
    labels: np.ndarray
    mirrored: bool

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Softmax of scores that include the margin; of both orders' mean when mirrored."""
        if self.mirrored:
            plain, exchanged = np.split(scores, 2)
            scores = (plain + swap_probabilities(exchanged)) / 2
        return softmax(scores)


@dataclass(frozen=True)
class Growth:
    """Mean log losses (rounds + 1, inner folds), of which row 0 is the margin alone; the best round; its inner OOF.

    start, loss: mean log loss over all inner rows without trees and at the best round.
    """

    losses: np.ndarray
    rounds: int
    probabilities: np.ndarray
    start: float
    loss: float


def inner_folds(
    fit: Fit,
    meta: Meta,
    labels: np.ndarray,
    folds: np.ndarray,
    mirrored: bool,
    params: Mapping[str, Any],
    bases: bool = True,
    only: np.ndarray | None = None,
) -> list[InnerFold]:
    """Bins the columns once per inner fold, for all trials; `fit` fits the base margin (`bases`: see `columns`).

    `only`: the folds that are wanted, by default all.
    """
    result = []
    for fold in np.unique(folds) if only is None else only:
        held = folds == fold
        rest, votes = meta.rows(~held), labels[~held]
        logits = cross_fitted(fit, rest, votes, folds[~held])
        data = dataset(rest, logits, votes, mirrored, params, bases).construct()
        out = meta.rows(held)
        margin = fit(rest, votes).logits(out)
        other = dataset(out, margin, labels[held], mirrored, params, bases, reference=data).construct()
        result.append(InnerFold(np.flatnonzero(held), data, other, margin, labels[held], mirrored))
    return result


def grow(
    inner: Sequence[InnerFold],
    params: Mapping[str, Any],
    rounds: int,
    patience: int,
    watch: Callable[[int, float], None] = lambda rounds, lowest: None,
) -> Growth:
    """Grows one booster per inner fold, a round at a time, up to `rounds` or `patience` rounds after the best one.

    The best round has the lowest mean loss over all inner rows; it is 0 when no tree helps. `watch` is called after
    every round with its number and the lowest loss so far, and may raise to give up.
    """
    boosters = [lgb.Booster(dict(params), fold.data).add_valid(fold.held, "held") for fold in inner]
    best = [softmax(fold.margin) for fold in inner]
    losses = [_losses(best, inner)]
    weights = np.array([len(fold.labels) for fold in inner], dtype=np.float64)
    start = float(np.average(losses[0], weights=weights))
    best_round, lowest = 0, start
    for number in range(1, rounds + 1):
        probabilities = []
        for booster, fold in zip(boosters, inner, strict=True):
            booster.update()
            probabilities.append(fold.probabilities(_held_scores(booster)))
        losses.append(_losses(probabilities, inner))
        loss = float(np.average(losses[-1], weights=weights))
        if loss < lowest:
            best_round, lowest, best = number, loss, probabilities
        elif number - best_round >= patience:
            break
        watch(number, lowest)
    # Of inner folds that are left out there are no predictions.
    together = np.full((max(fold.rows.max() for fold in inner) + 1, 3), np.nan)
    for fold, values in zip(inner, best, strict=True):
        together[fold.rows] = values
    return Growth(np.array(losses), best_round, together, start, lowest)


def _losses(probabilities: Sequence[np.ndarray], inner: Sequence[InnerFold]) -> list[float]:
    return [float(row_losses(p, fold.labels).mean()) for p, fold in zip(probabilities, inner, strict=True)]


def _held_scores(booster: lgb.Booster) -> np.ndarray:
    """The held-out rows' scores, initial scores included: logs of the probabilities that a metric is handed."""
    seen: list[np.ndarray] = []

    def metric(predicted: np.ndarray, _: lgb.Dataset) -> tuple[str, float, bool]:
        seen.append(np.log(np.maximum(predicted, 1e-300)))
        return "seen", 0.0, False

    booster.eval_valid(metric)
    return seen[0]
