import numpy as np
import pandas as pd
import pytest

from battles.schema import WINNERS, labels
from features.settings import Features
from features.strength import bradley_terry
from features.table import build
from tests.features.battles import styled

COLUMNS = ["strength_a", "strength_b", "strength_diff"]
SETTINGS = Features()


def strengths(battles: pd.DataFrame, folds: pd.DataFrame) -> pd.DataFrame:
    return build(battles, folds, None, SETTINGS)[0][COLUMNS]


def signal(battles: pd.DataFrame, found: pd.DataFrame) -> float:
    """Correlation of the predicted difference with the vote."""
    votes = labels(battles)
    return float(np.corrcoef((votes == 0) * 1.0 - (votes == 1), found["strength_diff"])[0, 1])


def test_bradley_terry_is_where_the_gradient_vanishes() -> None:
    rng = np.random.default_rng(5)
    first, second = rng.integers(0, 5, 300), rng.integers(0, 5, 300)
    votes = rng.integers(0, 3, 300)
    found = bradley_terry(first, second, votes, 6, 0.5)
    won = np.array([1.0, 0.0, 0.5])[votes]
    gradient = -0.5 * found
    for one, other, result in zip(first, second, won, strict=True):
        surprise = result - 1 / (1 + np.exp(found[other] - found[one]))
        gradient[one] += surprise
        gradient[other] -= surprise
    assert np.abs(gradient).max() < 1e-8
    assert found[5] == 0


def test_unbeaten_model_has_a_finite_rating() -> None:
    found = bradley_terry(np.zeros(50, dtype=int), np.ones(50, dtype=int), np.zeros(50, dtype=int), 2, 1.0)
    assert np.isfinite(found).all()
    assert found[0] > found[1]


def test_style_that_betrays_the_strong_models_is_learnt() -> None:
    battles, folds = styled()
    assert signal(battles, strengths(battles, folds)) > 0.3


def test_votes_of_a_fold_do_not_reach_its_own_columns() -> None:
    battles, folds = styled()
    plain = strengths(battles, folds)
    mine = (folds["fold"] == 1).to_numpy()
    changed = battles.copy()
    changed.loc[mine, list(WINNERS)] = np.roll(changed.loc[mine, list(WINNERS)].to_numpy(), 1, axis=1)
    after = strengths(changed, folds)
    pd.testing.assert_frame_equal(plain[mine], after[mine])
    assert not np.allclose(plain[~mine], after[~mine])


def test_names_of_a_fold_do_not_reach_its_own_columns() -> None:
    battles, folds = styled()
    mine = (folds["fold"] == 2).to_numpy()
    changed = battles.copy()
    changed.loc[mine, ["model_a", "model_b"]] = "unknown"
    pd.testing.assert_frame_equal(strengths(battles, folds)[mine], strengths(changed, folds)[mine])


def test_shuffled_votes_give_no_signal() -> None:
    battles, folds = styled(600)
    found = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(battles))
        shuffled = battles.copy()
        shuffled[list(WINNERS)] = battles[list(WINNERS)].to_numpy()[order]
        found.append(signal(shuffled, strengths(shuffled, folds)))
    assert np.mean(found) < 0.08


@pytest.mark.parametrize("names", ["unknown", "", None, "UNKNOWN "])
def test_without_names_the_columns_are_zero(names: str | None) -> None:
    battles, folds = styled(80)
    battles["model_a"] = battles["model_b"] = pd.Series([names] * len(battles), dtype="str")
    assert (strengths(battles, folds) == 0).all().all()


def test_without_name_columns_the_columns_are_zero() -> None:
    battles, folds = styled(80)
    assert (strengths(battles.drop(columns=["model_a", "model_b"]), folds) == 0).all().all()


def test_test_battles_need_neither_names_nor_votes() -> None:
    battles, folds = styled()
    fresh, _ = styled(100, seed=9)
    bare = fresh.drop(columns=["model_a", "model_b", *WINNERS])
    _, found, swap = build(battles, folds, bare, SETTINGS)
    assert found is not None
    assert set(found.columns) == {"id", *swap}
    assert signal(fresh, found) > 0.3
    _, empty, _ = build(battles, folds, bare.head(0), SETTINGS)
    assert empty is not None
    assert len(empty) == 0
