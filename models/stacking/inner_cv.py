"""Cross-validation on the inner folds: predictions and comparisons on rows that a fit has not seen."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from models.stacking.level1_data import Level1Data
from models.stacking.meta_features import Meta


class MetaModel(Protocol):
    """A level-1 model: turns the stacker's inputs into logits."""

    def logits(self, meta: Meta) -> np.ndarray:
        """Logits (n, 3) of n battles."""
        ...


# Fits a model on inputs and votes (n,). It is not handed the folds, so it cannot depend on them.
Fit = Callable[[Meta, np.ndarray], MetaModel]


def leading_folds(folds: np.ndarray, rows: int) -> np.ndarray:
    """The first folds, of the fold ids (n,), that together hold `rows` rows, or all folds if they hold fewer.

    Empty for a single fold, on which nothing can be validated.
    """
    numbers, sizes = np.unique(folds, return_counts=True)
    if len(numbers) < 2:
        return numbers[:0]
    return numbers[: int(np.searchsorted(np.cumsum(sizes), rows)) + 1]


def cross_fitted(fit: Fit, data: Level1Data) -> np.ndarray:
    """Out-of-fold logits (n, 3): of each fold by a model fitted on the others. In-sample ones for a single fold.

    A booster is trained on top of these, as in-sample logits look better than those it will meet when it predicts.
    """
    if len(np.unique(data.folds)) < 2:
        return fit(data.meta, data.labels).logits(data.meta)
    logits = np.zeros((len(data), 3))
    for held, rest, out in data.splits():
        logits[held] = fit(rest.meta, rest.labels).logits(out.meta)
    return logits
