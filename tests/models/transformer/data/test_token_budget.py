import numpy as np
import pytest

from models.transformer.data.token_budget import (
    CHARACTERS_PER_TOKEN,
    cut,
    in_proportion,
    kept_turns,
    shorten,
    spread,
)

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


def test_in_proportion_keeps_the_budget_to_the_token_and_the_same_share_of_each_text() -> None:
    generator = np.random.default_rng(1)
    for lengths in generator.integers(0, 200, (300, 6)):
        texts = [generator.integers(0, 1000, length) for length in lengths]
        budget = int(generator.integers(1, 700))
        kept = in_proportion(texts, budget)
        assert kept.sum() == min(budget, lengths.sum())
        share = min(1.0, budget / lengths.sum())
        assert (kept <= lengths).all()
        assert (np.abs(kept - share * lengths) < 1).all()
        exchanged = in_proportion([texts[at] for at in (0, 2, 1, 3, 5, 4)], budget)
        assert exchanged[[0, 2, 1, 3, 5, 4]].tolist() == kept.tolist()


def test_in_proportion_does_not_look_at_the_places_of_responses() -> None:
    """Of two responses of one length, one gets the odd token, whichever is A; of two that are the same, none."""
    one, other = np.arange(50), np.arange(50)[::-1]
    empty = np.arange(0)
    assert sorted(in_proportion([empty, one, other], 51).tolist()) == [0, 25, 26]
    assert in_proportion([empty, one, other], 51).tolist() == in_proportion([empty, other, one], 51)[[0, 2, 1]].tolist()
    assert in_proportion([empty, one, one.copy()], 51).tolist() == [0, 25, 25]
    # A longer text comes before a shorter one, and the prompt before a response of its length.
    assert in_proportion([one, one, other], 31).tolist() == [11, 10, 10]


@pytest.mark.parametrize(
    ("side", "expected"),
    [("left", [3, 4, 5]), ("right", [0, 1, 2]), ("middle", [0, 1, 5]), ("proportional", [0, 1, 5])],
)
def test_of_too_many_turns_those_are_kept_that_truncation_keeps(side: str, expected: list[int]) -> None:
    assert kept_turns(6, 3, side).tolist() == expected
    assert kept_turns(2, 3, side).tolist() == [0, 1]
    assert len(kept_turns(6, 1, side)) == 1
