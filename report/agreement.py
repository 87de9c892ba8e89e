"""How the models relate: where bases agree, what the second response order changed, and the loss fold by fold."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from oof.metrics import paired_standard_error, row_losses
from oof.table import Predictions

AGREEMENT = ("one", "other", "same_favourite", "lead_correlation")


def agreement(probabilities: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Every two of the models (n, 3): share of battles with the same favourite, and correlation of their leads.

    The lead is the log-odds of A against B. A pair of low correlation is worth more to a stacker than its losses say.
    """
    leads = {
        name: np.log(np.maximum(p[:, 0], 1e-6)) - np.log(np.maximum(p[:, 1], 1e-6)) for name, p in probabilities.items()
    }
    rows = [
        (
            one,
            other,
            float((probabilities[one].argmax(axis=1) == probabilities[other].argmax(axis=1)).mean()),
            _correlation(leads[one], leads[other]),
        )
        for one, other in combinations(probabilities, 2)
    ]
    return pd.DataFrame(rows, columns=list(AGREEMENT))


def _correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    if one.std() == 0 or other.std() == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def second_order(base: Predictions, rows: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> dict[str, Any] | None:
    """What swap TTA did on the rows (n,) of a mask: log loss of each order and of their mean, over the battles read in
    both; `change` is the mean's minus the plain order's, with its standard error. None for a base without TTA."""
    if base.plain is None or base.swapped is None:
        return None
    both = rows & ~np.isnan(base.swapped[:, 0])
    if not both.any():
        return None
    votes, prompts = labels[both], groups[both]
    plain, swapped = row_losses(base.plain[both], votes), row_losses(base.swapped[both], votes)
    mean = row_losses(base.probabilities[both], votes)
    return {
        "battles": int(both.sum()),
        "plain": float(plain.mean()),
        "swapped": float(swapped.mean()),
        "mean": float(mean.mean()),
        "change": float((mean - plain).mean()),
        "standard_error": paired_standard_error(mean, plain, prompts),
    }


def by_fold(losses: Mapping[str, np.ndarray], fold: np.ndarray) -> pd.DataFrame:
    """Mean losses of each model by fold: `fold`, `battles`, and one column a model."""
    return pd.DataFrame(
        [
            {
                "fold": int(number),
                "battles": int((fold == number).sum()),
                **{name: float(values[fold == number].mean()) for name, values in losses.items()},
            }
            for number in np.unique(fold)
        ]
    )
