import numpy as np
import pytest

from models.transformer.data.token_budget import CHARACTERS_PER_TOKEN, cut, shorten, spread

SHARES = (0.2, 0.4, 0.4)


def test_spread_keeps_the_budget_and_every_parts_share() -> None:
    lengths = np.random.default_rng(0).integers(0, 400, (500, 3))
    budget = 200
    kept = spread(lengths, SHARES, budget)
    assert (kept <= lengths).all()
    assert (kept.sum(axis=1) <= budget).all()
    sure = np.floor(np.array(SHARES) * budget).astype(int)
    assert (kept >= np.minimum(lengths, sure)).all()
    # Nothing is cut while room is left, but for the rounding of the shares.
    room = budget - kept.sum(axis=1)
    assert (room[(kept < lengths).any(axis=1)] <= 2).all()
    assert (kept[lengths.sum(axis=1) <= budget] == lengths[lengths.sum(axis=1) <= budget]).all()


def test_spread_treats_both_responses_alike() -> None:
    lengths = np.random.default_rng(1).integers(0, 400, (200, 3))
    exchanged = spread(lengths[:, [0, 2, 1]], SHARES, 150)
    np.testing.assert_array_equal(exchanged[:, [0, 2, 1]], spread(lengths, SHARES, 150))


@pytest.mark.parametrize("keep", range(1, 25))
def test_cut_keeps_beginning_and_end_and_its_length_exactly(keep: int) -> None:
    ids, mark = np.arange(20), np.array([99])
    short = cut(ids, keep, mark)
    assert len(short) == min(keep, 20)
    if keep >= 20:
        np.testing.assert_array_equal(short, ids)
    elif keep > 2:
        at = int(np.flatnonzero(short == 99)[0])
        np.testing.assert_array_equal(short[:at], ids[:at])
        np.testing.assert_array_equal(short[at + 1 :], ids[20 - (keep - at - 1) :])


def test_a_text_that_cannot_fit_is_shortened_before_it_is_tokenised() -> None:
    longest = 10 * CHARACTERS_PER_TOKEN
    assert shorten("x" * longest, 10) == "x" * longest
    short = shorten("a" + "b" * 5 * longest + "c", 10)
    assert len(short) == longest
    assert (short[0], short[-1]) == ("a", "c")
