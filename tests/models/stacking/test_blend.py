import numpy as np
import pytest

from battles.errors import BadInput
from battles.swap import swap_columns, swap_probabilities
from models.stacking import blend
from models.stacking.meta_features import make_meta
from oof.metrics import log_loss
from oof.probabilities import softmax
from tests.models.stacking.battles import battles, raw_battles


def test_prior_is_the_class_frequencies() -> None:
    data = battles(300)
    meta, labels = data.meta, data.labels
    probabilities = softmax(blend.prior(meta, labels, symmetric=False).logits(meta))
    np.testing.assert_allclose(probabilities[0], np.bincount(labels) / 300, atol=1e-6)
    symmetric = softmax(blend.prior(meta, labels, symmetric=True).logits(meta))
    assert symmetric[0, 0] == pytest.approx(symmetric[0, 1], abs=1e-12)


def test_prior_survives_a_class_without_votes() -> None:
    meta = battles(50).meta
    assert np.isfinite(blend.prior(meta, np.zeros(50, dtype=int), symmetric=False).logits(meta)).all()


def test_best_base_and_equal_blend_change_nothing_but_the_weights() -> None:
    data = battles(300)
    meta, labels = data.meta, data.labels
    given = raw_battles(300)[0]["probabilities"]
    np.testing.assert_allclose(softmax(blend.best_base(meta, labels).logits(meta)), given["good"])
    logs = np.mean([np.log(values) for values in given.values()], axis=0)
    np.testing.assert_allclose(softmax(blend.equal_blend(meta).logits(meta)), softmax(logs))


def test_optimal_blend_is_at_least_as_good_as_a_grid_of_weights() -> None:
    data = battles(600)
    meta, labels = data.meta, data.labels
    best = blend.optimal_blend(meta, labels, symmetric=False)
    loss = log_loss(softmax(best.logits(meta)), labels)
    for good in np.linspace(0, 2, 9):
        for weak in np.linspace(0, 1, 5):
            assert loss <= log_loss(softmax(blend.Pool({"good": good, "weak": weak}, best.bias).logits(meta)), labels)
    assert min(best.weights.values()) >= 0
    assert best.weights["good"] > best.weights["weak"]


def test_optimal_blend_finds_the_temperature() -> None:
    data = battles(2000)
    meta, labels = data.meta, data.labels
    true = blend.optimal_blend(meta, labels, symmetric=False)
    sharp = {name: softmax(2.5 * logs) for name, logs in zip(meta.bases, meta.logs, strict=True)}
    cooled = blend.optimal_blend(make_meta(sharp), labels, symmetric=False)
    for name, weight in true.weights.items():
        assert cooled.weights[name] == pytest.approx(weight / 2.5, abs=5e-3)


def test_a_penalty_pulls_the_weights_to_where_they_are_wanted() -> None:
    data = battles(400)
    meta, labels = data.meta, data.labels
    wanted = np.array([0.1, 0.7])
    free, _ = blend.convex_weights(meta.logs, labels, False)
    strong, _ = blend.convex_weights(meta.logs, labels, False, wanted, 1e9)
    np.testing.assert_allclose(strong, wanted, atol=1e-4)
    some, _ = blend.convex_weights(meta.logs, labels, False, wanted, 100.0)
    assert np.linalg.norm(some - wanted) < np.linalg.norm(free - wanted)


def test_a_base_of_reversed_opinion_gets_no_weight() -> None:
    data = battles(500)
    meta, labels = data.meta, data.labels
    reverse = {"good": softmax(meta.logs[0]), "reverse": softmax(-meta.logs[1])}
    assert blend.optimal_blend(make_meta(reverse), labels, symmetric=False).weights["reverse"] == 0


def test_symmetric_exchanging_the_battles_exchanges_the_blend() -> None:
    data = battles(400, bias=0.8)
    meta, labels = data.meta, data.labels
    fair = blend.optimal_blend(meta, labels, symmetric=True)
    back = swap_probabilities(fair.logits(meta.exchanged()))
    np.testing.assert_allclose(back, fair.logits(meta), atol=1e-12)
    biased = blend.optimal_blend(meta, labels, symmetric=False)
    assert biased.bias[0] - biased.bias[1] > 0.3


def test_pool_survives_json_and_refuses_other_bases() -> None:
    data = battles(100)
    meta, labels = data.meta, data.labels
    pool = blend.optimal_blend(meta, labels, symmetric=False)
    np.testing.assert_array_equal(blend.Pool.from_json(pool.to_json()).logits(meta), pool.logits(meta))
    with pytest.raises(BadInput, match="bases"):
        pool.logits(make_meta({"other": softmax(meta.logs[0])}))


def test_exchanging_inputs_is_making_them_from_exchanged_battles() -> None:
    """The odd and even columns of exchanged files are the negated and the kept columns of the original ones."""
    given, _ = raw_battles(80, orders=True)
    files = {
        "probabilities": {name: swap_probabilities(values) for name, values in given["probabilities"].items()},
        # What was predicted on the exchanged battle is now the plain order, and the other way round.
        "orders": {name: (swap_probabilities(b), swap_probabilities(a)) for name, (a, b) in given["orders"].items()},
        "features": swap_columns(given["features"], given["swap"]),
        "swap": given["swap"],
    }
    ours, theirs = make_meta(**given).exchanged(), make_meta(**files)
    np.testing.assert_allclose(ours.logs, theirs.logs, atol=1e-12)
    for group in ("base", "disagreement", "features", "means"):
        for mine, other in zip(getattr(ours, group), getattr(theirs, group), strict=True):
            assert mine.names == other.names
            np.testing.assert_allclose(mine.values, other.values, atol=1e-12)
    assert "good_position_tilt" in ours.disagreement.even.names
    assert set(ours.features.odd.names) == {"gap", "step", "length_a-length_b"}


def test_a_difference_that_is_already_there_is_not_made_twice() -> None:
    given, _ = raw_battles(30)
    given["features"]["length_diff"] = given["features"]["length_a"] - given["features"]["length_b"]
    given["swap"]["length_diff"] = "negate"
    assert set(make_meta(**given).features.odd.names) == {"gap", "step", "length_diff"}


def test_inputs_that_are_not_finite_or_not_declared_are_refused() -> None:
    def refused(match: str, **changes: object) -> None:
        with pytest.raises(BadInput, match=match):
            make_meta(**(given | changes))

    given, _ = raw_battles(40)
    holes = given["features"].copy()
    holes.loc[7, "step"] = np.nan
    refused("column step, row 7", features=holes)
    refused("39 rows", features=holes[:39])
    refused("column even", swap={name: rule for name, rule in given["swap"].items() if name != "even"})
    refused("partner 'nobody'", swap=given["swap"] | {"length_a": "nobody"})
    refused("base weak", probabilities=given["probabilities"] | {"weak": np.full((40, 3), np.nan)})
    refused("no base", probabilities={})
