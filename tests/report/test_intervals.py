import numpy as np
import pytest

from oof.metrics import paired_standard_error
from report.intervals import bootstrap, interval


def test_the_interval_is_the_one_of_the_clustered_standard_error() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 400, 1500)
    values = rng.normal(size=1500) + rng.normal(size=400)[groups]
    means = bootstrap(np.stack([values, 2 * values], axis=1), groups)
    assert means.std(axis=0)[0] == pytest.approx(paired_standard_error(values, np.zeros(1500), groups), rel=0.1)
    np.testing.assert_allclose(means[:, 1], 2 * means[:, 0])
    low, high = interval(means[:, 0])
    assert low < values.mean() < high


def test_one_group_has_no_spread() -> None:
    means = bootstrap(np.arange(5.0)[:, None], np.zeros(5, dtype=int))
    assert set(means.ravel().tolist()) == {2.0}
