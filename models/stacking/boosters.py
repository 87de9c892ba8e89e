"""The two tuned boosters: one on the residual of the bases, one that knows the handcrafted features only.

The first starts from the regression on the bases and sees everything. The second starts from the prior, so it
errs independently of the bases: with few battles its average with them is better than the first
(a margin that was fitted alone is too sharp once features speak as well, and trees cannot take it back).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from battles.files import content_hash
from models.stacking.boosting_cv import grow, inner_folds
from models.stacking.inner_cv import Fit, Level1, cross_fitted, enough
from models.stacking.meta_features import Meta
from models.stacking.residual_booster import Residual, columns, fixed_params
from models.stacking.settings import Stack
from models.stacking.studies import Where
from models.stacking.tuning import Tuned, first_recipes, tune
from oof.metrics import paired_standard_error, row_losses


@dataclass(frozen=True)
class Start:
    """Where a booster starts: its margin, fitted on all rows and how to fit it, and whether it sees the bases."""

    margin: Level1
    fit: Fit
    bases: bool


def fit_booster(
    start: Start,
    meta: Meta,
    labels: np.ndarray,
    folds: np.ndarray,
    mirrored: bool,
    settings: Stack,
    where: Where,
    study: str,
) -> tuple[Residual, Tuned | None]:
    """Tunes a booster on the inner folds and fits the best recipes on all rows.

    With one fold only nothing can be tuned: the booster has no trees and the outcome of tuning is None.
    """
    if len(np.unique(folds)) < 2:
        return Residual(start.margin, [], 1.0, mirrored, start.bases), None
    inner = inner_folds(start.fit, meta, labels, folds, mirrored, _fixed(settings), start.bases)
    name = f"{study}-{_fingerprint(meta, labels, folds, settings, mirrored, start.bases)}"
    about = {
        "rows": len(labels),
        "inner_folds": len(inner),
        "bases": list(meta.bases) if start.bases else [],
        "mirrored": mirrored,
        "settings_hash": content_hash(settings.model_dump())[:16],
    }
    scored = len(enough(folds, settings.tuning_rows))
    tuned = tune(inner, scored, settings, where, name, first_recipes(settings, randomised=start.bases), about)
    logits = cross_fitted(start.fit, meta, labels, folds)
    return Residual.fit(start.margin, meta, logits, labels, tuned.recipes, mirrored, start.bases), tuned


def tells_places_apart(
    start: Start,
    meta: Meta,
    labels: np.ndarray,
    folds: np.ndarray,
    settings: Stack,
    groups: np.ndarray | None = None,
) -> bool:
    """Whether trees that may tell A's place from B's beat mirrored ones on inner folds by two standard errors.

    groups (n,), if given, mark rows that are not independent.
    """
    compared = enough(folds, settings.tuning_rows)
    if not len(compared):
        return False
    rows = np.flatnonzero(np.isin(folds, compared))
    recipe = _fixed(settings) | dict(first_recipes(settings, randomised=start.bases)[0])

    def losses(mirrored: bool) -> np.ndarray:
        inner = inner_folds(start.fit, meta, labels, folds, mirrored, _fixed(settings), start.bases, compared)
        growth = grow(inner, recipe, settings.rounds, settings.patience)
        return row_losses(growth.probabilities[rows], labels[rows])

    symmetric, free = losses(True), losses(False)
    error = paired_standard_error(symmetric, free, None if groups is None else groups[rows])
    return float((symmetric - free).mean()) > 2 * error


def _fixed(settings: Stack) -> dict[str, Any]:
    return fixed_params(settings.seed, settings.threads, settings.max_bin)


def _fingerprint(
    meta: Meta, labels: np.ndarray, folds: np.ndarray, settings: Stack, mirrored: bool, bases: bool
) -> str:
    """Eight hex digits of everything a trial's loss depends on: a study is resumed on the same data only."""
    table = columns(meta, np.zeros((len(labels), 3)), bases=True)
    arrays: Sequence[np.ndarray] = (labels, folds, meta.logs, table.to_numpy())
    hashes = [hashlib.sha256(np.ascontiguousarray(array).data).hexdigest() for array in arrays]
    fixed: Mapping[str, Any] = settings.model_dump(exclude={"trials", "workers", "threads", "bag"})
    return content_hash([hashes, list(table.columns), fixed, mirrored, bases])[:8]
