"""The forest candidate: it predicts as scikit-learn's trees do, symmetric, honest, and what it learns."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier

from battles.errors import BadInput
from battles.swap import swap_columns, swap_probabilities
from models.stacking import blend, forest, serialization
from models.stacking.boosters import InitScore
from models.stacking.forest import Forest, Growth, Trees, fit_forest
from models.stacking.inner_cv import cross_fitted
from models.stacking.level1_data import Level1Data
from models.stacking.meta_features import Meta, make_meta
from oof.metrics import log_loss
from oof.probabilities import softmax
from tests.models.stacking.battles import battles, raw_battles

GROWTH = Growth(trees=40)


def _margin(data: Level1Data, symmetric: bool = True) -> InitScore:
    fit = partial(blend.optimal_blend, symmetric=symmetric)
    return InitScore(fit(data.meta, data.labels), fit)


def _fit(data: Level1Data, symmetric: bool = True) -> tuple[Forest, np.ndarray]:
    margin = _margin(data, symmetric)
    return fit_forest(data, margin, cross_fitted(margin.fit, data), symmetric, 3, GROWTH)


def _meta(given: dict[str, Any], exchange: bool = False) -> Meta:
    if not exchange:
        return make_meta(**given)
    swapped = {name: swap_probabilities(values) for name, values in given["probabilities"].items()}
    return make_meta(swapped, {}, swap_columns(given["features"], given["swap"]), given["swap"])


@pytest.mark.parametrize("rows", [500, 40])
def test_its_trees_predict_as_those_of_scikit_learn(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(rows)
    # Columns of few values: many rows lie exactly where a threshold may.
    values = np.column_stack([rng.normal(size=(rows, 4)), rng.integers(0, 3, (rows, 3)) / 10]).astype(np.float32)
    labels, fresh = rng.integers(0, 3, rows), rng.normal(size=(700, 7)).astype(np.float32)
    fresh[:, 4:] = rng.integers(0, 3, (700, 3)) / 10
    fresh[:, 0] = rng.choice(values[:, 0], 700)
    drawn = {}
    if rows == 500:
        monkeypatch.setattr(forest, "TREE_ROWS", 200)
        drawn = {"bootstrap": True, "max_samples": 200}
    theirs = ExtraTreesClassifier(40, min_samples_leaf=3, max_features=0.5, random_state=9, **drawn)
    theirs.fit(values, labels)
    ours = Trees.grow(values, labels, Growth(40, leaf=3, columns=0.5), seed=9)
    np.testing.assert_allclose(ours.probabilities(fresh), theirs.predict_proba(fresh), atol=1e-6)
    np.testing.assert_allclose(ours.probabilities(values), theirs.predict_proba(values), atol=1e-6)


def test_a_threshold_is_rounded_to_the_side_where_it_decides_the_same() -> None:
    thresholds = np.array([0.1, -0.1, 1 / 3, 1.0, 1e-40, 16777217.0])
    rounded = forest._rounded_down(thresholds)
    assert rounded.dtype == np.float32
    assert (rounded <= thresholds).all()
    assert (np.nextafter(rounded, np.float32(np.inf)) > thresholds).all()


def test_a_vote_that_nobody_cast_has_no_chance() -> None:
    values = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    chances = Trees.grow(values, np.arange(60) % 2, GROWTH, seed=0).probabilities(values)
    assert (chances[:, 2] == 0).all()
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-6)


def test_exchanging_the_responses_exchanges_the_prediction() -> None:
    model, _ = _fit(battles(300))
    given, _ = raw_battles(100, seed=4)
    expected = swap_probabilities(softmax(model.logits(_meta(given))))
    np.testing.assert_allclose(softmax(model.logits(_meta(given, exchange=True))), expected, atol=1e-9)


def test_a_preference_for_a_place_is_learnt_unless_it_is_symmetric() -> None:
    data, fresh = battles(600, bias=1.0), battles(300, seed=5, bias=1.0).meta
    symmetric, free = (softmax(_fit(data, kind)[0].logits(fresh)).mean(axis=0) for kind in (True, False))
    assert free[0] - free[1] > symmetric[0] - symmetric[1] + 0.15


def test_it_learns_a_step_that_no_straight_line_is() -> None:
    data, fresh = battles(1500), battles(1000, seed=8)
    # The bases say nothing here: what it knows, it knows from the features.
    nothing = {"none": np.full((1500, 3), 1 / 3)}
    data = replace(data, meta=make_meta(**raw_battles(1500)[0] | {"probabilities": nothing, "orders": {}}))
    given = raw_battles(1000, seed=8)[0] | {"probabilities": {"none": nothing["none"][:1000]}, "orders": {}}
    model, inner = _fit(data)
    prior = log_loss(np.tile(np.bincount(data.labels) / 1500, (1000, 1)), fresh.labels)
    assert log_loss(softmax(model.logits(make_meta(**given))), fresh.labels) < prior - 0.05
    assert log_loss(softmax(inner), data.labels) < prior - 0.05


def test_out_of_fold_logits_are_as_good_as_those_of_other_battles() -> None:
    model, inner = _fit(battles(1000))
    fresh = battles(1000, seed=6)
    held_out = log_loss(softmax(inner), battles(1000).labels)
    assert held_out == pytest.approx(log_loss(softmax(model.logits(fresh.meta)), fresh.labels), abs=0.05)
    # A leaf holds the votes of its own rows, which is why the scale is fitted on held-out logits.
    assert log_loss(softmax(model.logits(battles(1000).meta)), battles(1000).labels) < held_out - 0.1


def test_the_votes_of_a_fold_reach_neither_its_held_out_logits_nor_their_calibration() -> None:
    data = battles(200)
    turned = replace(data, labels=np.where(data.folds == 1, (data.labels + 1) % 3, data.labels))
    before, after = (forest._held_out(one, _margin(one), True, 3, GROWTH) for one in (data, turned))
    np.testing.assert_array_equal(before[data.folds == 1], after[data.folds == 1])
    assert np.abs(before - after)[data.folds == 2].max() > 1e-3
    rest = data.folds != 1
    scale, bias = forest._calibrated(before[rest], data.labels[rest], True)
    np.testing.assert_array_equal(_fit(data)[1][~rest], scale * before[~rest] + bias)


def test_a_single_fold_is_not_calibrated() -> None:
    data = battles(60)
    model, _ = _fit(replace(data, folds=np.zeros(60, dtype=int)))
    assert model.scale == 1
    assert (model.bias == 0).all()


def test_the_same_seed_grows_the_same_trees() -> None:
    one, other = (_fit(battles(120))[0].arrays() for _ in range(2))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_saved_one_predicts_the_same_and_damage_is_said(tmp_path: Path) -> None:
    model, _ = _fit(battles(120))
    fresh = battles(40, seed=6).meta
    serialization.save(tmp_path, {"regression": model.margin, "forest": model}, "forest", {})
    np.testing.assert_array_equal(serialization.load(tmp_path).logits(fresh), model.logits(fresh))
    path = tmp_path / "forest.forest.npz"
    path.write_bytes(path.read_bytes()[:-9] + b"something")
    with pytest.raises(BadInput, match=r"forest\.forest\.npz: damaged \(it is not what was written\)"):
        serialization.load(tmp_path)
