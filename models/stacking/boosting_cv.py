"""Cross-validated boosting: the boosters of all inner folds advance together, a round at a time.

So the number of rounds, zero included, is read off their mean loss instead of being a parameter to tune.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np

from models.stacking.contrasts import UNDERFLOW
from models.stacking.inner_cv import Fit, cross_fitted
from models.stacking.level1_data import Level1Data
from models.stacking.residual_booster import Design, average_orders, dataset
from oof.metrics import row_losses
from oof.probabilities import softmax


@dataclass(frozen=True)
class InnerFold:
    """One inner fold, binned.

    rows: numbers of its n held-out rows. train, held: data sets of the other rows and of these. margin (n, 3), labels,
    groups (n,): the held-out rows' margin logits, votes and groups, if there are any. symmetric: whether the data sets
    hold both orders of a battle.
    """

    rows: np.ndarray
    train: lgb.Dataset
    held: lgb.Dataset
    margin: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None
    symmetric: bool

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities (n, 3) of scores that include the margin: (n, 3), or (2n, 3) of both orders if symmetric."""
        return softmax(average_orders(scores) if self.symmetric else scores)


@dataclass(frozen=True)
class BoostingCurve:
    """Cross-validated boosting, round by round.

    losses (rounds + 1, inner folds): mean log losses, the margin's alone first. rounds: the best number of rounds.
    probabilities: out-of-fold ones at the best round, NaN for rows of no compared fold. margin_loss, loss: mean log
    loss over all held-out rows without trees and at the best round.
    """

    losses: np.ndarray
    rounds: int
    probabilities: np.ndarray
    margin_loss: float
    loss: float


def inner_folds(
    fit: Fit, data: Level1Data, design: Design, params: Mapping[str, Any], compared: np.ndarray | None = None
) -> list[InnerFold]:
    """The inner folds, or those `compared`, with their columns binned once for all trials; `fit` fits the margin."""
    result = []
    for held, rest, out in data.splits(compared):
        train = dataset(rest.meta, cross_fitted(fit, rest), rest.labels, design, params).construct()
        margin = fit(rest.meta, rest.labels).logits(out.meta)
        valid = dataset(out.meta, margin, out.labels, design, params, reference=train).construct()
        result.append(InnerFold(np.flatnonzero(held), train, valid, margin, out.labels, out.groups, design.symmetric))
    return result


def boost_cv(
    inner: Sequence[InnerFold],
    params: Mapping[str, Any],
    rounds: int,
    patience: int,
    after_round: Callable[[int, float], None] = lambda rounds, lowest: None,
) -> BoostingCurve:
    """Boosts on every inner fold at once, up to `rounds` rounds or until `patience` rounds are no better than the best.

    The best round has the lowest mean loss over all held-out rows; it is 0 when no tree helps. `after_round` is called
    with the number of rounds and the lowest loss so far, and may raise to give up.
    """
    boosters = [lgb.Booster(dict(params), fold.train).add_valid(fold.held, "held") for fold in inner]
    best = [softmax(fold.margin) for fold in inner]
    losses = [_fold_losses(best, inner)]
    weights = np.array([len(fold.labels) for fold in inner], dtype=np.float64)
    margin_loss = float(np.average(losses[0], weights=weights))
    best_round, lowest = 0, margin_loss
    for number in range(1, rounds + 1):
        probabilities = []
        for booster, fold in zip(boosters, inner, strict=True):
            booster.update()
            probabilities.append(fold.probabilities(_held_scores(booster)))
        losses.append(_fold_losses(probabilities, inner))
        loss = float(np.average(losses[-1], weights=weights))
        if loss < lowest:
            best_round, lowest, best = number, loss, probabilities
        elif number - best_round >= patience:
            break
        after_round(number, lowest)
    out_of_fold = np.full((max(fold.rows.max() for fold in inner) + 1, 3), np.nan)
    for fold, values in zip(inner, best, strict=True):
        out_of_fold[fold.rows] = values
    return BoostingCurve(np.array(losses), best_round, out_of_fold, margin_loss, lowest)


def _fold_losses(probabilities: Sequence[np.ndarray], inner: Sequence[InnerFold]) -> list[float]:
    return [float(row_losses(p, fold.labels).mean()) for p, fold in zip(probabilities, inner, strict=True)]


def _held_scores(booster: lgb.Booster) -> np.ndarray:
    """Scores of the held-out rows, init_score included: the logarithms of the probabilities that a metric is handed.

    LightGBM keeps these scores up to date while it trains; predicting them would walk all trees again every round.
    """
    captured: list[np.ndarray] = []

    def metric(predicted: np.ndarray, _: lgb.Dataset) -> tuple[str, float, bool]:
        captured.append(np.log(np.maximum(predicted, UNDERFLOW)))
        return "captured", 0.0, False

    booster.eval_valid(metric)
    return captured[0]
