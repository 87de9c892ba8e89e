from dataclasses import replace

import numpy as np

from models.stacking.blend import Pool, optimal_blend
from models.stacking.inner_cv import cross_fitted, leading_folds
from models.stacking.meta_features import Meta
from tests.models.stacking.battles import battles


def _margin(meta: Meta, labels: np.ndarray) -> Pool:
    return optimal_blend(meta, labels, symmetric=False)


def test_cross_fitted_margins_do_not_know_their_rows_votes() -> None:
    data = battles(200)
    folds, changed = data.folds, data.labels.copy()
    changed[folds == 2] = (changed[folds == 2] + 1) % 3
    before = cross_fitted(_margin, data)
    after = cross_fitted(_margin, replace(data, labels=changed))
    np.testing.assert_array_equal(before[folds == 2], after[folds == 2])
    assert np.abs(before[folds != 2] - after[folds != 2]).max() > 0


def test_leading_folds_hold_out_the_rows_that_are_asked_for() -> None:
    folds = np.array([3] * 10 + [5] * 20 + [7] * 5)
    found = {rows: leading_folds(folds, rows).tolist() for rows in (1, 10, 11, 30, 31, 10**6)}
    assert found == {1: [3], 10: [3], 11: [3, 5], 30: [3, 5], 31: [3, 5, 7], 10**6: [3, 5, 7]}
    assert not len(leading_folds(np.zeros(10), 1))
