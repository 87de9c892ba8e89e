import numpy as np
import pytest

from battles.swap import swap_probabilities
from oof.table import Predictions
from report.bias import base_position, verbosity, vote_position
from report.calibration import reliability

ROWS = 400


def predictions(plain: np.ndarray, swapped: np.ndarray | None) -> Predictions:
    mean = plain if swapped is None else (plain + swapped) / 2
    return Predictions(mean, plain if swapped is not None else None, swapped, ~np.isnan(mean[:, 0]), {})


def test_a_pull_to_the_first_place_is_found_and_what_is_earned_is_not() -> None:
    fair = np.random.default_rng(0).dirichlet([3, 2, 2], ROWS)
    pull = np.array([0.02, -0.02, 0.0])
    clipped = np.clip(fair, 0.03, None)
    clipped /= clipped.sum(axis=1, keepdims=True)
    swapped = swap_probabilities(swap_probabilities(clipped) + pull)
    position = base_position(predictions(clipped + pull, swapped), np.ones(ROWS, dtype=bool))
    assert position["first_place"] == pytest.approx(0.04)
    assert position["mean"] == pytest.approx((clipped[:, 0] - clipped[:, 1]).mean())


def test_a_base_blind_to_the_order_has_no_pull_and_one_order_says_nothing() -> None:
    fair = np.random.default_rng(1).dirichlet([1, 1, 1], ROWS)
    rows = np.arange(ROWS) < 50
    blind = base_position(predictions(fair, fair), rows)
    assert (blind["first_place"], blind["flips"]) == (0, 0)
    assert blind["mean"] == pytest.approx((fair[:50, 0] - fair[:50, 1]).mean())
    assert base_position(predictions(fair, None), rows)["first_place"] is None


def test_battles_read_in_one_order_only_say_nothing_of_the_order() -> None:
    plain, swapped = np.random.default_rng(2).dirichlet([1, 1, 1], (2, ROWS))
    half, everything = np.arange(ROWS) < ROWS // 2, np.ones(ROWS, dtype=bool)
    partly = base_position(predictions(plain, np.where(half[:, None], swapped, np.nan)), everything)
    whole = base_position(predictions(plain, swapped), half)
    for name in ("plain", "swapped", "first_place", "flips"):
        assert partly[name] == whole[name]
    assert base_position(predictions(plain, np.full_like(plain, np.nan)), everything)["flips"] is None


def test_vote_shares() -> None:
    position = vote_position(np.array([0, 0, 1, 2]), np.arange(4))
    shares = position["share_a"], position["share_b"], position["share_tie"]
    assert (*shares, position["lead"]) == (0.5, 0.25, 0.25, 0.25)
    assert position["standard_error"] == pytest.approx(np.std([1, 1, -1, 0], ddof=1) / 2)


def test_verbosity_equals_a_slow_count_and_is_the_same_with_sides_exchanged() -> None:
    rng = np.random.default_rng(2)
    lengths = np.log1p(rng.integers(1, 5000, (ROWS, 2)))
    lengths[:20, 1] = lengths[:20, 0]
    labels, predicted = rng.integers(0, 3, ROWS), rng.dirichlet([1, 1, 1], ROWS)
    groups = np.arange(ROWS)
    table = verbosity(lengths, labels, predicted, groups, parts=10)
    assert table["battles"].sum() == (lengths[:, 0] != lengths[:, 1]).sum()
    apart = [i for i in range(ROWS) if lengths[i, 0] != lengths[i, 1]]
    apart.sort(key=lambda i: abs(lengths[i, 0] - lengths[i, 1]))
    last = apart[-int(table["battles"].iloc[-1]) :]
    longer = [0 if lengths[i, 0] > lengths[i, 1] else 1 for i in last]
    wins = [0.5 if labels[i] == 2 else float(labels[i] == side) for i, side in zip(last, longer, strict=True)]
    expected = [predicted[i, side] + predicted[i, 2] / 2 for i, side in zip(last, longer, strict=True)]
    assert table["votes"].iloc[-1] == pytest.approx(np.mean(wins))
    assert table["predicted"].iloc[-1] == pytest.approx(np.mean(expected))
    mirrored = verbosity(lengths[:, ::-1], np.array([1, 0, 2])[labels], swap_probabilities(predicted), groups)
    np.testing.assert_allclose(mirrored, table)


def test_responses_of_equal_length_give_an_empty_table() -> None:
    same = np.ones((5, 2))
    assert len(verbosity(same, np.zeros(5, dtype=int), np.full((5, 3), 1 / 3), np.arange(5))) == 0


def test_reliability_counts_every_battle_once_a_class_and_finds_calibration() -> None:
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet([1, 1, 1], 20_000)
    labels = (rng.random((20_000, 1)) > probabilities.cumsum(axis=1)[:, :2]).sum(axis=1)
    table = reliability(probabilities, labels)
    assert table.groupby("class")["rows"].sum().tolist() == [20_000] * 3
    assert (np.abs(table["observed"] - table["predicted"]) < 5 * table["standard_error"] + 1e-3).all()
    over = reliability(np.eye(3)[probabilities.argmax(axis=1)] * 0.97 + 0.01, labels)
    assert (over["observed"] - over["predicted"]).abs().max() > 0.1


def test_few_battles_make_few_points() -> None:
    for rows, bins in ((2, 1), (60, 2), (5000, 10)):
        table = reliability(np.full((rows, 3), 1 / 3), np.arange(rows) % 3)
        assert len(table) == 3 * bins
        assert table["rows"].sum() == 3 * rows
