import numpy as np
import pandas as pd
import pytest

from battles.schema import WINNERS, labels
from features.settings import Features
from features.strength import bradley_terry
from features.table import fit
from tests.features.battles import styled

COLUMNS = ["strength_a", "strength_b", "strength_diff"]
SETTINGS = Features()


def strengths(battles: pd.DataFrame, folds: pd.DataFrame) -> pd.DataFrame:
    return fit(battles, folds, SETTINGS).table[COLUMNS]


def signal(battles: pd.DataFrame, found: pd.DataFrame) -> float:
    """Correlation of the predicted difference with the vote."""
    votes = labels(battles)
    return float(np.corrcoef((votes == 0) * 1.0 - (votes == 1), found["strength_diff"])[0, 1])


def dense_bradley_terry(
    first: np.ndarray, second: np.ndarray, votes: np.ndarray, models: int, ridge: float
) -> np.ndarray:
    """The textbook's Newton steps, with the whole Hessian."""
    won, ratings = np.array([1.0, 0.0, 0.5])[votes], np.zeros(models)
    for _ in range(30):
        chance = 1 / (1 + np.exp(ratings[second] - ratings[first]))
        design = np.zeros((len(won), models))
        np.add.at(design, (np.arange(len(won)), first), 1)
        np.add.at(design, (np.arange(len(won)), second), -1)
        gradient = design.T @ (won - chance) - ridge * ratings
        hessian = (design.T * (chance * (1 - chance))) @ design + ridge * np.eye(models)
        ratings = ratings + np.linalg.solve(hessian, gradient)
    return ratings


@pytest.mark.parametrize("ridge", [1e-3, 0.5, 1.0, 100.0])
@pytest.mark.parametrize("models", [2, 5, 40])
def test_bradley_terry_is_where_dense_newton_steps_end(models: int, ridge: float) -> None:
    rng = np.random.default_rng(5)
    first, second = rng.integers(0, models, 300), rng.integers(0, models, 300)  # a model may meet itself
    votes = rng.integers(0, 3, 300)
    rated = bradley_terry(first, second, votes, models + 1, ridge)
    assert np.abs(rated - dense_bradley_terry(first, second, votes, models + 1, ridge)).max() < 1e-8
    assert rated[models] == 0


@pytest.mark.parametrize("kind", ["random", "chain", "star"])
def test_bradley_terry_of_thousands_of_models_is_where_the_gradient_vanishes(kind: str) -> None:
    rng, models = np.random.default_rng(2), 5000
    first = {"random": rng.integers(0, models, 40_000), "chain": np.arange(models - 1), "star": np.zeros(9999, int)}
    one = first[kind]
    other = {"random": rng.integers(0, models, 40_000), "chain": one + 1, "star": np.arange(9999) % (models - 1) + 1}
    second = other[kind]
    votes = np.zeros(len(one), dtype=int) if kind == "chain" else rng.integers(0, 3, len(one))
    rated = bradley_terry(one, second, votes, models, 1.0)
    surprise = np.array([1.0, 0.0, 0.5])[votes] - 1 / (1 + np.exp(rated[second] - rated[one]))
    gradient = np.bincount(one, surprise, models) - np.bincount(second, surprise, models) - rated
    assert np.abs(gradient).max() < 1e-7


def test_unbeaten_model_has_a_finite_rating() -> None:
    rated = bradley_terry(np.zeros(50, dtype=int), np.ones(50, dtype=int), np.zeros(50, dtype=int), 2, 1.0)
    assert np.isfinite(rated).all()
    assert rated[0] > rated[1]


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
    model = fit(battles, folds, SETTINGS).model
    found, swap = model.columns(bare)
    assert set(found.columns) == {"id", *swap}
    assert signal(fresh, found) > 0.3
    assert len(model.columns(bare.head(0))[0]) == 0


def test_nested_columns_are_those_of_a_run_without_the_fold() -> None:
    battles, folds = styled(240)
    made = fit(battles, folds, SETTINGS)
    for fold in folds["fold"].unique():
        rest = (folds["fold"] != fold).to_numpy()
        apart = fit(battles[rest], folds[rest], SETTINGS).table
        nested = made.nested[made.nested["without"] == fold]
        assert nested["id"].tolist() == apart["id"].tolist()
        np.testing.assert_allclose(nested[COLUMNS], apart[COLUMNS], atol=1e-4)
        assert np.abs(nested[COLUMNS].to_numpy() - made.table.loc[rest, COLUMNS].to_numpy()).max() > 1e-2
