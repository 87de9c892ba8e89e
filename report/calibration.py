"""Reliability: how often what was predicted with probability p came true."""

import numpy as np
import pandas as pd

from oof.probabilities import class_count

MOST_BINS = 10
# Fewer would make points that jump about by chance.
LEAST_ROWS = 25


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Mean prediction and observed share per class and bin; bins of one class hold equally many battles.

    There are ten, or fewer where they would hold fewer than 25 battles. Without ties that class is left out.
    Columns: `class` (0, 1, 2), `predicted`, `observed`, `standard_error` (binomial, of `observed`) and `rows`.
    Equally many, as the probabilities of a calibrated model crowd around a third and leave equal widths empty.
    """
    bins = max(1, min(MOST_BINS, len(labels) // LEAST_ROWS))
    parts = []
    for number in range(class_count(probabilities)):
        predicted = probabilities[:, number]
        order = np.argsort(predicted, kind="stable")
        for rows in np.array_split(order, bins):
            if len(rows):
                observed = float((labels[rows] == number).mean())
                error = float(np.sqrt(observed * (1 - observed) / len(rows)))
                parts.append((number, float(predicted[rows].mean()), observed, error, len(rows)))
    return pd.DataFrame(parts, columns=["class", "predicted", "observed", "standard_error", "rows"])
