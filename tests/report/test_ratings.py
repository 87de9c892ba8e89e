"""Ratings find the strengths that votes were drawn from, at equal style, and do not break where there is little."""

import numpy as np
import pandas as pd
import pytest

from report.ratings import rate, style_differences
from tests.report import synthetic

STRENGTH = np.array([0.8, 0.3, -0.2, -0.9])
NU, LENGTH = 0.6, 0.7


def _battles(rows: int = 6000) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    models = np.array([rng.choice(4, 2, replace=False) for _ in range(rows)])
    # The strongest writes longest: without style control it gets its length's votes too.
    style = rng.normal(size=(rows, 4)) + (STRENGTH[models[:, 0]] - STRENGTH[models[:, 1]])[:, None] * [1, 0, 0, 0]
    lead = STRENGTH[models[:, 0]] - STRENGTH[models[:, 1]] + LENGTH * style[:, 0]
    powers = np.stack([np.exp(lead / 2), np.exp(-lead / 2), np.full(rows, NU)], axis=1)
    votes = np.array([rng.choice(3, p=row) for row in powers / powers.sum(axis=1, keepdims=True)])
    names = pd.DataFrame(np.array(list("abcd"), dtype=object)[models], columns=["model_a", "model_b"])
    return names, votes, np.arange(rows), style


def test_strengths_ties_and_the_weight_of_style_are_found() -> None:
    names, votes, groups, style = _battles()
    plain, styled = rate(names, votes, groups, None), rate(names, votes, groups, style)
    assert plain is not None
    assert styled is not None
    found = styled.models.set_index("model").loc[list("abcd")]
    np.testing.assert_allclose(found["rating"], STRENGTH - STRENGTH.mean(), atol=0.12)
    assert ((found["low"] < STRENGTH - STRENGTH.mean()) & (STRENGTH - STRENGTH.mean() < found["high"])).all()
    assert styled.tie == pytest.approx(NU, abs=0.05)
    coefficients = styled.style.set_index("style")
    assert coefficients.loc["length", "coefficient"] == pytest.approx(LENGTH, abs=0.1)
    assert abs(coefficients.loc["bold", "coefficient"]) < 0.1
    assert plain.models["rating"].iloc[0] > 1.3 * styled.models["rating"].iloc[0]
    assert styled.log_loss < plain.log_loss


def test_the_unbeaten_stay_finite_and_the_rare_are_not_rated() -> None:
    names = pd.DataFrame([("a", "b")] * 20 + [("c", "b")], columns=["model_a", "model_b"], dtype=object)
    rated = rate(names, np.zeros(21, dtype=int), np.arange(21), None)
    assert rated is not None
    assert rated.models["model"].tolist() == ["a", "b"]
    assert np.isfinite(rated.models[["rating", "low", "high"]].to_numpy()).all()
    assert rated.tie == pytest.approx(0, abs=1e-9)
    assert rate(names.iloc[:5], np.zeros(5, dtype=int), np.arange(5), None) is None


def test_style_is_the_relative_difference_of_counts() -> None:
    voted, lengths, _ = synthetic.battles(50)
    table = synthetic.features(voted, lengths)
    found = style_differences(table)
    assert found is not None
    chars = np.expm1(lengths)
    expected = (chars[:, 0] - chars[:, 1]) / chars.sum(axis=1)
    np.testing.assert_allclose(found[:, 0], expected / expected.std(), rtol=1e-4)
    assert style_differences(table.drop(columns=["bold_a"])) is None
