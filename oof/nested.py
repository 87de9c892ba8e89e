"""Nested cross-fitting of a teacher: for each pair of folds a model that saw neither.

The model without folds j and k predicts both: its rows of j are what a student scored on k learns from, and the
other way round. So K folds cost K (K - 1) / 2 trainings, not K (K - 1). Each lies in `pair-<j>-<k>/` and resumes as
a fold does.
"""

from itertools import combinations

import numpy as np
import pandas as pd

from battles.errors import BadInput
from oof.model_store import FitModel, Job, ModelStore
from oof.table import MEAN


def cross_pairs(folds: pd.DataFrame, store: ModelStore, fit: FitModel) -> np.ndarray:
    """Probabilities (folds, battles, 3): entry [k] by models that saw neither fold k nor the battle's own fold.

    Entry [k] is NaN for fold k's own battles. Raises BadInput for fewer than three folds.
    """
    numbers = folds["fold"].to_numpy()
    count = int(numbers.max()) + 1
    if count < 3:
        raise BadInput(
            f"prepare.folds: {count}; a clean teacher is trained without two folds, so there must be 3 or more"
        )
    values = np.full((count, len(numbers), 3), np.nan)
    for at, (j, k) in enumerate(combinations(range(count), 2)):
        held_out = np.isin(numbers, (j, k))
        # Numbers above the folds' and the refit's: every model of a base has seeds of its own.
        job = Job(f"pair-{j}-{k}", count + 1 + at, np.flatnonzero(~held_out), np.flatnonzero(held_out), "pair")
        store.fit_once(job, fit)
        predicted = np.full((len(numbers), 3), np.nan)
        predicted[held_out] = store.load(job).valid[MEAN]
        values[k][numbers == j] = predicted[numbers == j]
        values[j][numbers == k] = predicted[numbers == k]
    return values
