"""Inner folds: predictions and comparisons inside a fit, on rows that are held out of it."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from models.stacking.meta_features import Meta


class Level1(Protocol):
    """Whatever turns the stacker's inputs into centred logits (n, 3)."""

    def logits(self, meta: Meta) -> np.ndarray: ...


Fit = Callable[[Meta, np.ndarray], Level1]


def enough(folds: np.ndarray, rows: int) -> np.ndarray:
    """The first of the inner folds (ids of n rows) that together hold out `rows` rows, or all; none of a single one."""
    numbers, sizes = np.unique(folds, return_counts=True)
    if len(numbers) < 2:
        return numbers[:0]
    return numbers[: int(np.searchsorted(np.cumsum(sizes), rows)) + 1]


def cross_fitted(fit: Fit, meta: Meta, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Logits (n, 3) of rows that the model was not fitted on; with one fold only, in-sample ones.

    A booster trained on top of in-sample margins takes them to be better than they will be when it predicts.
    """
    numbers = np.unique(folds)
    if len(numbers) < 2:
        return fit(meta, labels).logits(meta)
    logits = np.zeros((len(labels), 3))
    for fold in numbers:
        held = folds == fold
        logits[held] = fit(meta.rows(~held), labels[~held]).logits(meta.rows(held))
    return logits
