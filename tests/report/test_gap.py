"""What is known of the sample's truth."""

from math import log

import numpy as np
import pytest

from report.gap import reached


def test_losses_under_the_truth_are_those_of_a_slow_reference() -> None:
    rng = np.random.default_rng(2)
    truth, model = rng.dirichlet([1, 1, 1], 30), rng.dirichlet([2, 2, 2], 30)
    shares = np.array([0.4, 0.35, 0.25])
    found = reached({"model": model}, truth, shares)
    slow = {
        "prior": -sum(p * log(q) for row in truth for p, q in zip(row, shares, strict=True)) / 30,
        "model": -sum(p * log(q) for t, m in zip(truth, model, strict=True) for p, q in zip(t, m, strict=True)) / 30,
        "Bayes-optimal": -sum(p * log(p) for row in truth for p in row) / 30,
    }
    assert list(found) == list(slow)
    for name, loss in slow.items():
        assert found[name].loss == pytest.approx(loss)
        share = (slow["prior"] - loss) / (slow["prior"] - slow["Bayes-optimal"])
        assert found[name].share == pytest.approx(share, abs=1e-12)
    assert (found["prior"].share, found["Bayes-optimal"].share) == (0.0, 1.0)
