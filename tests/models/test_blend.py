from dataclasses import replace

import numpy as np
import pytest

from battles.errors import BadInput
from battles.swap import swap_probabilities
from models import blend
from models.linear import softmax
from models.meta import Meta, base_parts, disagreement_parts, feature_parts
from report.metrics import log_loss
from tests.models.stacking import battles


def test_prior_is_the_class_frequencies() -> None:
    meta, labels, _ = battles(300)
    probabilities = softmax(blend.prior(meta, labels, position=True).logits(meta))
    np.testing.assert_allclose(probabilities[0], np.bincount(labels) / 300, atol=1e-6)
    symmetric = softmax(blend.prior(meta, labels, position=False).logits(meta))
    assert symmetric[0, 0] == pytest.approx(symmetric[0, 1], abs=1e-12)


def test_prior_survives_a_class_without_votes() -> None:
    meta, _, _ = battles(50)
    assert np.isfinite(blend.prior(meta, np.zeros(50, dtype=int), position=True).logits(meta)).all()


def test_best_base_and_equal_blend_change_nothing_but_the_weights() -> None:
    meta, labels, _ = battles(300)
    np.testing.assert_allclose(softmax(blend.best_base(meta, labels).logits(meta)), meta.probabilities["good"])
    logs = np.mean([np.log(values) for values in meta.probabilities.values()], axis=0)
    np.testing.assert_allclose(softmax(blend.equal_blend(meta).logits(meta)), softmax(logs))


def test_optimal_blend_is_at_least_as_good_as_a_grid_of_weights() -> None:
    meta, labels, _ = battles(600)
    best = blend.optimal_blend(meta, labels, position=True)
    loss = log_loss(softmax(best.logits(meta)), labels)
    for good in np.linspace(0, 2, 9):
        for weak in np.linspace(0, 1, 5):
            assert loss <= log_loss(softmax(blend.Pool({"good": good, "weak": weak}, best.bias).logits(meta)), labels)
    assert min(best.weights.values()) >= 0
    assert best.weights["good"] > best.weights["weak"]


def test_optimal_blend_finds_the_temperature() -> None:
    meta, labels, _ = battles(2000)
    true = blend.optimal_blend(meta, labels, position=True)
    sharp = {name: softmax(2.5 * np.log(values)) for name, values in meta.probabilities.items()}
    cooled = blend.optimal_blend(Meta(sharp), labels, position=True)
    for name, weight in true.weights.items():
        assert cooled.weights[name] == pytest.approx(weight / 2.5, abs=1e-3)


def test_a_base_of_reversed_opinion_gets_no_weight() -> None:
    meta, labels, _ = battles(500)
    reverse = {"good": meta.probabilities["good"], "reverse": softmax(-np.log(meta.probabilities["weak"]))}
    assert blend.optimal_blend(Meta(reverse), labels, position=True).weights["reverse"] == 0


def test_without_position_exchanging_the_battles_exchanges_the_blend() -> None:
    meta, labels, _ = battles(400, bias=0.8)
    fair = blend.optimal_blend(meta, labels, position=False)
    back = swap_probabilities(fair.logits(meta.exchanged()))
    np.testing.assert_allclose(back, fair.logits(meta), atol=1e-12)
    biased = blend.optimal_blend(meta, labels, position=True)
    assert biased.bias[0] - biased.bias[1] > 0.3


def test_pool_survives_json_and_refuses_other_bases() -> None:
    meta, labels, _ = battles(100)
    pool = blend.optimal_blend(meta, labels, position=True)
    np.testing.assert_array_equal(blend.Pool.from_json(pool.to_json()).logits(meta), pool.logits(meta))
    with pytest.raises(BadInput, match="bases"):
        pool.logits(Meta({"other": meta.probabilities["good"]}))


def test_odd_columns_flip_and_even_columns_stay_when_battles_are_exchanged() -> None:
    meta, _, _ = battles(80, orders=True)
    for parts in (base_parts, disagreement_parts, feature_parts):
        (odd, even), (odd_back, even_back) = parts(meta), parts(meta.exchanged())
        np.testing.assert_allclose(odd_back, -odd, atol=1e-12)
        np.testing.assert_allclose(even_back, even, atol=1e-12)
        assert odd.shape[1] + even.shape[1] > 0
    assert "good_position_tilt" in disagreement_parts(meta)[1]


def test_exchanging_twice_is_nothing() -> None:
    meta, _, _ = battles(40, orders=True)
    twice = meta.exchanged().exchanged()
    np.testing.assert_array_equal(twice.features, meta.features)
    np.testing.assert_array_equal(twice.orders["good"][0], meta.orders["good"][0])


def test_inputs_that_are_not_finite_or_not_declared_are_refused() -> None:
    meta, _, _ = battles(40)
    holes = meta.features.copy()
    holes.loc[7, "step"] = np.nan
    with pytest.raises(BadInput, match="column step, row 7"):
        replace(meta, features=holes)
    with pytest.raises(BadInput, match="length_b"):
        replace(meta, swap={name: rule for name, rule in meta.swap.items() if name != "length_b"})
    with pytest.raises(BadInput, match="39 rows"):
        replace(meta, features=meta.features[:39])
    broken = dict(meta.probabilities)
    broken["weak"] = np.full((40, 3), np.nan)
    with pytest.raises(BadInput, match="base weak"):
        replace(meta, probabilities=broken)
    with pytest.raises(BadInput, match="no base"):
        Meta({})
