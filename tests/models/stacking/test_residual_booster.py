from dataclasses import replace
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pytest

from battles.errors import BadInput
from battles.swap import swap_probabilities
from models.stacking import serialization
from models.stacking.blend import optimal_blend, prior
from models.stacking.boosting_cv import boost_cv, inner_folds
from models.stacking.inner_cv import cross_fitted
from models.stacking.logistic import Regression, Strength
from models.stacking.meta_features import Meta, make_meta
from models.stacking.mixture import Mixture
from models.stacking.residual_booster import Design, Recipe, Residual, columns, dataset, fixed_params
from oof.metrics import log_loss
from oof.probabilities import softmax
from tests.models.stacking.battles import battles, raw_battles

SYMMETRIC, FREE = Design(bases=True, symmetric=True), Design(bases=True, symmetric=False)
PARAMS = fixed_params(1, 1, 63) | {"num_leaves": 5, "learning_rate": 0.1, "min_child_samples": 10}


def _margin(meta: Meta, labels: np.ndarray):
    return optimal_blend(meta, labels, symmetric=False)


def _fitted(rows: int, symmetric: bool, rounds: int = 20, seed: int = 0) -> tuple[Residual, Meta, np.ndarray]:
    data = battles(rows, seed=seed, orders=True)
    meta, labels = data.meta, data.labels
    start = cross_fitted(_margin, data)
    recipes = [Recipe(PARAMS, rounds), Recipe(PARAMS | {"seed": 9, "feature_fraction": 0.5}, rounds)]
    return Residual.fit(_margin(meta, labels), meta, start, labels, recipes, Design(True, symmetric)), meta, labels


def test_zero_rounds_are_the_margin() -> None:
    residual, meta, _ = _fitted(200, symmetric=True, rounds=0)
    np.testing.assert_array_equal(residual.logits(meta), residual.margin.logits(meta))


def test_zero_rounds_count_in_the_mean() -> None:
    data = battles(300)
    meta, labels = data.meta, data.labels
    margin = _margin(meta, labels)
    start = margin.logits(meta)
    one = Residual.fit(margin, meta, start, labels, [Recipe(PARAMS, 10)], FREE)
    half = Residual.fit(margin, meta, start, labels, [Recipe(PARAMS, 10), Recipe(PARAMS, 0)], FREE)
    np.testing.assert_allclose(half.logits(meta) - start, (one.logits(meta) - start) / 2, atol=1e-12)


def test_the_margin_is_added_back() -> None:
    """LightGBM's own loss on the training rows, which counts the init score, equals that of margin plus trees."""
    data = battles(400)
    meta, labels = data.meta, data.labels
    margin = _margin(meta, labels)
    params = PARAMS | {"metric": "multi_logloss"}
    data = dataset(meta, margin.logits(meta), labels, FREE, params)
    recorded: dict = {}
    lgb.train(params, data, 15, valid_sets=[data], valid_names=["train"], callbacks=[lgb.record_evaluation(recorded)])
    residual = Residual.fit(margin, meta, margin.logits(meta), labels, [Recipe(PARAMS, 15)], FREE)
    assert log_loss(softmax(residual.logits(meta)), labels) == pytest.approx(
        recorded["train"]["multi_logloss"][-1], abs=1e-6
    )
    assert log_loss(softmax(residual.logits(meta)), labels) < log_loss(softmax(margin.logits(meta)), labels)


def test_the_boosters_learn_what_the_margin_leaves_over() -> None:
    residual, _, _ = _fitted(1500, symmetric=True, rounds=40)
    data = battles(3000, seed=99, orders=True)
    fresh, labels = data.meta, data.labels
    margin = log_loss(softmax(residual.margin.logits(fresh)), labels)
    assert log_loss(softmax(residual.logits(fresh)), labels) < margin - 0.02


def test_a_symmetric_residual_exchanges_with_the_battles() -> None:
    data = battles(300, orders=True, bias=0.5)
    meta, labels = data.meta, data.labels
    margin = optimal_blend(meta, labels, symmetric=True)
    residual = Residual.fit(margin, meta, margin.logits(meta), labels, [Recipe(PARAMS, 25)], SYMMETRIC)
    before, after = softmax(residual.logits(meta)), softmax(residual.logits(meta.exchanged()))
    np.testing.assert_allclose(swap_probabilities(after), before, atol=1e-9)


def test_reordered_columns_are_refused() -> None:
    residual, meta, _ = _fitted(150, symmetric=False, rounds=3)
    given, _ = raw_battles(150, orders=True)
    given["features"] = given["features"][sorted(given["features"].columns, reverse=True)]
    other = make_meta(**given)
    start = residual.margin.logits(other)
    with pytest.raises(lgb.basic.LightGBMError):
        residual.boosters[0].predict(columns(other, start, FREE), validate_features=True)
    with pytest.raises(lgb.basic.LightGBMError):
        residual.logits(other)
    assert len(meta) == len(other)


def test_the_same_fit_twice_is_the_same() -> None:
    first, meta, _ = _fitted(200, symmetric=True, rounds=10)
    second, _, _ = _fitted(200, symmetric=True, rounds=10)
    np.testing.assert_array_equal(first.logits(meta), second.logits(meta))


@pytest.mark.parametrize("design", [FREE, SYMMETRIC])
def test_cross_validated_boosting_gives_what_separate_fits_give(design: Design) -> None:
    data = battles(400, orders=True)
    meta, labels, folds = data.meta, data.labels, data.folds
    inner = inner_folds(_margin, data, design, PARAMS)
    curve = boost_cv(inner, PARAMS, 12, 12)
    expected = np.zeros((400, 3))
    for fold in range(5):
        held = folds == fold
        rest = data.rows(~held)
        start = cross_fitted(_margin, rest)
        recipe = Recipe(PARAMS, curve.rounds)
        residual = Residual.fit(_margin(rest.meta, rest.labels), rest.meta, start, rest.labels, [recipe], design)
        expected[held] = softmax(residual.logits(meta.rows(held)))
    np.testing.assert_allclose(curve.probabilities, expected, atol=1e-6)
    assert curve.loss == pytest.approx(log_loss(expected, labels), abs=1e-6)
    assert curve.rounds == np.argmin(curve.losses.mean(axis=1))


def test_a_booster_without_bases_sees_the_features_only() -> None:
    given, labels = raw_battles(200, orders=True)
    meta = make_meta(**given)
    margin = prior(meta, labels, symmetric=False)
    recipe = Recipe(PARAMS, 10)
    residual = Residual.fit(margin, meta, margin.logits(meta), labels, [recipe], Design(bases=False, symmetric=True))
    other = make_meta(**(given | {"probabilities": {name: np.full((200, 3), 1 / 3) for name in meta.bases}}))
    np.testing.assert_array_equal(residual.logits(meta), residual.logits(other))
    assert np.ptp(residual.logits(meta)[:, 0]) > 0.1


def test_boosting_on_noise_stops_early_and_keeps_few_or_no_trees() -> None:
    data = battles(300)
    shuffled = replace(data, labels=np.random.default_rng(1).permutation(data.labels))
    curve = boost_cv(inner_folds(_margin, shuffled, SYMMETRIC, PARAMS), PARAMS, 100, 5)
    assert len(curve.losses) <= curve.rounds + 6
    assert curve.rounds <= 10


def test_saved_candidates_predict_the_same(tmp_path: Path) -> None:
    residual, meta, labels = _fitted(250, symmetric=True)
    margin = Regression.fit(meta, labels, Strength(), features=False)
    features = Regression.fit(meta, labels, Strength(), features=True)
    booster = Residual(margin, residual.boosters, residual.tree_weight, residual.design)
    models = {
        "blend": residual.margin,
        "regression": margin,
        "features": features,
        "booster": booster,
        "average": Mixture({"features": features, "booster": booster}, np.array([0.3, 0.8]), np.array([0.1, 0, -0.1])),
    }
    serialization.save(tmp_path, models, "average", {"bases": meta.bases})
    fresh = battles(100, seed=5, orders=True).meta
    for name, model in models.items():
        np.testing.assert_array_equal(serialization.load(tmp_path, name).logits(fresh), model.logits(fresh))
    np.testing.assert_array_equal(serialization.load(tmp_path).logits(fresh), models["average"].logits(fresh))
    trees = tmp_path / "booster-0.trees.txt"
    fix = r"delete .*stack\.json and run `make stack` again$"
    trees.write_text(trees.read_text().replace("leaf_value=", "leaf_value=1"))  # LightGBM reads it without a word
    with pytest.raises(BadInput, match=rf"booster-0\.trees\.txt: damaged \(it is not what was written\); {fix}"):
        serialization.load(tmp_path, "booster")
    trees.unlink()
    with pytest.raises(BadInput, match=rf"booster-0\.trees\.txt: no such file; {fix}"):
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
    for alike in ("x[0]", "x(0)", "x_0_", "x_0__2"):
        given["features"][alike] = np.arange(20.0)
        given["swap"][alike] = "same"
    names = list(columns(make_meta(**given), np.zeros((20, 3)), FREE).columns)
    assert len(set(names)) == len(names)
    assert not any(set(name) & set('[]{}":,') for name in names)
    # LightGBM refuses two columns of a name.
    lgb.Dataset(np.zeros((20, len(names))), feature_name=names, params={"verbosity": -1}).construct()


def test_columns_of_both_orders_are_those_of_the_exchanged_battles() -> None:
    meta = battles(50, orders=True).meta
    margin = np.random.default_rng(0).normal(size=(50, 3))
    both = columns(meta, margin, SYMMETRIC)
    np.testing.assert_array_equal(both[:50], columns(meta, margin, FREE))
    np.testing.assert_array_equal(both[50:], columns(meta.exchanged(), swap_probabilities(margin), FREE))
