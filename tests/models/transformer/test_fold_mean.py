import numpy as np
import pytest
from scipy.stats import entropy

from models.transformer.fold_mean import TOLERANCE, Comparison, divergence
from oof.metrics import log_loss


def test_the_divergence_is_what_is_lost_where_the_folds_are_right() -> None:
    draw = np.random.default_rng(0)
    right, other = draw.dirichlet(np.full(3, 4.0), 50), draw.dirichlet(np.full(3, 4.0), 50)
    assert divergence(right, other) == pytest.approx(float(entropy(right, other, axis=1).mean()))
    assert divergence(right, right) == 0
    assert np.isfinite(divergence(np.array([[0.0, 1.0, 0.0]]), np.array([[1.0, 0.0, 0.0]])))
    # Of votes drawn by the one, the other's log loss is greater by it.
    many = 20_000
    votes = (draw.random((many, 50, 1)) > right.cumsum(axis=1)[:, :2]).sum(axis=2)
    lost = log_loss(np.tile(other, (many, 1)), votes.ravel()) - log_loss(np.tile(right, (many, 1)), votes.ravel())
    assert lost == pytest.approx(divergence(right, other), abs=0.01)


def test_one_model_stands_for_the_folds_only_if_no_figure_is_worse() -> None:
    near = {"voted": TOLERANCE / 2, "test": TOLERANCE / 2}
    assert Comparison((1.0, 1.0), near).taken
    assert Comparison((1.0, 0.9), near).taken
    assert not Comparison((1.0, 1.0 + 2 * TOLERANCE), near).taken
    assert not Comparison((1.0, 1.0), {**near, "test": 2 * TOLERANCE}).taken
    assert not Comparison((1.0, 0.9), {**near, "voted": 2 * TOLERANCE}).taken
    assert "log loss 1.0000 against 0.9000: it predicts" not in str(Comparison((1.0, 0.9), near))
    assert "log loss 0.9000 against 1.0000: it predicts" in str(Comparison((1.0, 0.9), near))
    assert "so all folds predict" in str(Comparison((0.9, 1.0), near))
