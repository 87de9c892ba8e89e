from pathlib import Path

import lightgbm as lgb
import numpy as np
import pytest

from battles.errors import BadInput
from battles.swap import swap_probabilities
from models.stacking import serialization
from models.stacking.blend import optimal_blend, prior
from models.stacking.boosting_cv import grow, inner_folds
from models.stacking.candidates import Mixture
from models.stacking.inner_cv import cross_fitted
from models.stacking.logistic import Regression, Strength
from models.stacking.meta_features import Meta, make_meta
from models.stacking.residual_booster import Recipe, Residual, columns, dataset, fixed_params
from oof.metrics import log_loss
from oof.probabilities import softmax
from tests.models.stacking.battles import battles, raw_battles

PARAMS = fixed_params(1, 1, 63) | {"num_leaves": 5, "learning_rate": 0.1, "min_child_samples": 10}


def _margin(meta: Meta, labels: np.ndarray):
    return optimal_blend(meta, labels, position=True)


def _fitted(rows: int, mirrored: bool, rounds: int = 20, seed: int = 0) -> tuple[Residual, Meta, np.ndarray]:
    meta, labels, folds = battles(rows, seed=seed, orders=True)
    start = cross_fitted(_margin, meta, labels, folds)
    recipes = [Recipe(PARAMS, rounds), Recipe(PARAMS | {"seed": 9, "feature_fraction": 0.5}, rounds)]
    return Residual.fit(_margin(meta, labels), meta, start, labels, recipes, mirrored), meta, labels


def test_zero_rounds_are_the_margin() -> None:
    residual, meta, _ = _fitted(200, mirrored=True, rounds=0)
    np.testing.assert_array_equal(residual.logits(meta), residual.margin.logits(meta))


def test_zero_rounds_keep_their_share_in_the_mean() -> None:
    meta, labels, _ = battles(300)
    margin = _margin(meta, labels)
    start = margin.logits(meta)
    one = Residual.fit(margin, meta, start, labels, [Recipe(PARAMS, 10)], False)
    half = Residual.fit(margin, meta, start, labels, [Recipe(PARAMS, 10), Recipe(PARAMS, 0)], False)
    np.testing.assert_allclose(half.logits(meta) - start, (one.logits(meta) - start) / 2, atol=1e-12)


def test_the_margin_is_added_back() -> None:
    """LightGBM's own loss on the training rows, which counts the init score, equals that of margin plus trees."""
    meta, labels, _ = battles(400)
    margin = _margin(meta, labels)
    params = PARAMS | {"metric": "multi_logloss"}
    data = dataset(meta, margin.logits(meta), labels, False, params, bases=True)
    recorded: dict = {}
    lgb.train(params, data, 15, valid_sets=[data], valid_names=["train"], callbacks=[lgb.record_evaluation(recorded)])
    residual = Residual.fit(margin, meta, margin.logits(meta), labels, [Recipe(PARAMS, 15)], False)
    assert log_loss(softmax(residual.logits(meta)), labels) == pytest.approx(
        recorded["train"]["multi_logloss"][-1], abs=1e-6
    )
    assert log_loss(softmax(residual.logits(meta)), labels) < log_loss(softmax(margin.logits(meta)), labels)


def test_the_boosters_learn_what_the_margin_leaves_over() -> None:
    residual, _, _ = _fitted(1500, mirrored=True, rounds=40)
    fresh, labels, _ = battles(3000, seed=99, orders=True)
    margin = log_loss(softmax(residual.margin.logits(fresh)), labels)
    assert log_loss(softmax(residual.logits(fresh)), labels) < margin - 0.02


def test_a_mirrored_residual_is_symmetric() -> None:
    meta, labels, folds = battles(300, orders=True, bias=0.5)
    margin = optimal_blend(meta, labels, position=False)
    residual = Residual.fit(margin, meta, margin.logits(meta), labels, [Recipe(PARAMS, 25)], True)
    before, after = softmax(residual.logits(meta)), softmax(residual.logits(meta.exchanged()))
    np.testing.assert_allclose(swap_probabilities(after), before, atol=1e-9)
    assert folds.max() == 4


def test_reordered_columns_are_refused() -> None:
    residual, meta, _ = _fitted(150, mirrored=False, rounds=3)
    given, _ = raw_battles(150, orders=True)
    given["features"] = given["features"][sorted(given["features"].columns, reverse=True)]
    other = make_meta(**given)
    start = residual.margin.logits(other)
    with pytest.raises(lgb.basic.LightGBMError):
        residual.boosters[0].predict(columns(other, start, bases=True), validate_features=True)
    with pytest.raises(lgb.basic.LightGBMError):
        residual.logits(other)
    assert len(meta) == len(other)


def test_the_same_fit_twice_is_the_same() -> None:
    first, meta, _ = _fitted(200, mirrored=True, rounds=10)
    second, _, _ = _fitted(200, mirrored=True, rounds=10)
    np.testing.assert_array_equal(first.logits(meta), second.logits(meta))


@pytest.mark.parametrize("mirrored", [False, True])
def test_growing_in_step_gives_what_separate_fits_give(mirrored: bool) -> None:
    meta, labels, folds = battles(400, orders=True)
    inner = inner_folds(_margin, meta, labels, folds, mirrored, PARAMS)
    growth = grow(inner, PARAMS, 12, 12)
    expected = np.zeros((400, 3))
    for fold in range(5):
        held = folds == fold
        rest, votes = meta.rows(~held), labels[~held]
        start = cross_fitted(_margin, rest, votes, folds[~held])
        recipe = Recipe(PARAMS, growth.rounds)
        residual = Residual.fit(_margin(rest, votes), rest, start, votes, [recipe], mirrored)
        expected[held] = softmax(residual.logits(meta.rows(held)))
    np.testing.assert_allclose(growth.probabilities, expected, atol=1e-6)
    assert growth.loss == pytest.approx(log_loss(expected, labels), abs=1e-6)
    assert growth.rounds == np.argmin(growth.losses.mean(axis=1))


def test_a_booster_without_bases_sees_the_features_only() -> None:
    given, labels = raw_battles(200, orders=True)
    meta = make_meta(**given)
    margin = prior(meta, labels, position=True)
    recipe = Recipe(PARAMS, 10)
    residual = Residual.fit(margin, meta, margin.logits(meta), labels, [recipe], True, bases=False)
    other = make_meta(**(given | {"probabilities": {name: np.full((200, 3), 1 / 3) for name in meta.bases}}))
    np.testing.assert_array_equal(residual.logits(meta), residual.logits(other))
    assert np.ptp(residual.logits(meta)[:, 0]) > 0.1


def test_growing_on_noise_stops_early_and_keeps_few_or_no_trees() -> None:
    meta, labels, folds = battles(300)
    shuffled = np.random.default_rng(1).permutation(labels)
    growth = grow(inner_folds(_margin, meta, shuffled, folds, True, PARAMS), PARAMS, 100, 5)
    assert len(growth.losses) <= growth.rounds + 6
    assert growth.rounds <= 10


def test_saved_candidates_predict_the_same(tmp_path: Path) -> None:
    residual, meta, labels = _fitted(250, mirrored=True)
    margin = Regression.fit(meta, labels, Strength(), features=False, position=True)
    features = Regression.fit(meta, labels, Strength(), features=True, position=True)
    booster = Residual(margin, residual.boosters, residual.share, residual.mirrored, residual.bases)
    models = {
        "blend": residual.margin,
        "regression": margin,
        "features": features,
        "booster": booster,
        "average": Mixture({"features": features, "booster": booster}, np.array([0.3, 0.8]), np.array([0.1, 0, -0.1])),
    }
    serialization.save(tmp_path, models, "average", {"bases": meta.bases})
    fresh, _, _ = battles(100, seed=5, orders=True)
    for name, model in models.items():
        np.testing.assert_array_equal(serialization.load(tmp_path, name).logits(fresh), model.logits(fresh))
    np.testing.assert_array_equal(serialization.load(tmp_path).logits(fresh), models["average"].logits(fresh))
    trees = tmp_path / "booster-0.trees.txt"
    trees.write_text(trees.read_text().replace("leaf_value=", "leaf_value=1"))  # LightGBM reads it without a word
    with pytest.raises(
        BadInput, match=r"booster-0\.trees\.txt: damaged \(it is not what was written\); run `make stack`"
    ):
        serialization.load(tmp_path, "booster")
    trees.unlink()
    with pytest.raises(BadInput, match=r"booster-0\.trees\.txt: no such file; run `make stack`"):
        serialization.load(tmp_path, "booster")
    serialization.save(tmp_path, {"blend": residual.margin}, "blend", {})
    assert [path.name for path in tmp_path.iterdir()] == ["stack.json"]
    with pytest.raises(BadInput, match="no candidate booster"):
        serialization.load(tmp_path, "booster")


def test_nothing_saved_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="make stack"):
        serialization.load(tmp_path)


def test_column_names_are_fit_for_lightgbm() -> None:
    given, _ = raw_battles(20)
    strange = 'gap["x"]: {1,2}'
    given["features"] = given["features"].rename(columns={"gap": strange})
    given["swap"][strange] = "negate"
    names = list(columns(make_meta(**given), np.zeros((20, 3)), bases=True).columns)
    assert len(set(names)) == len(names)
    assert not any(set(name) & set('[]{}":,') for name in names)


def test_mirrored_columns_are_those_of_the_exchanged_battles() -> None:
    meta, _, _ = battles(50, orders=True)
    margin = np.random.default_rng(0).normal(size=(50, 3))
    both = columns(meta, margin, True, mirrored=True)
    np.testing.assert_array_equal(both[:50], columns(meta, margin, True))
    np.testing.assert_array_equal(both[50:], columns(meta.exchanged(), swap_probabilities(margin), True))
