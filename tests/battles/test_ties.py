import numpy as np
import pytest

from battles.errors import BadInput
from battles.ties import ENOUGH_BATTLES, can_tie


def test_no_tie_among_many_votes_means_that_there_is_none() -> None:
    sides = np.arange(ENOUGH_BATTLES) % 2
    assert not can_tie(sides, "auto")
    assert can_tie(np.append(sides, 2), "auto")
    # Of few votes nothing follows.
    assert can_tie(sides[1:], "auto")


def test_what_is_asked_for_counts_unless_votes_say_otherwise() -> None:
    assert can_tie(np.zeros(1000, dtype=int), True)
    assert not can_tie(np.array([0, 1]), False)
    with pytest.raises(BadInput, match=r"prepare\.ties: false, but 2 of 4 voted battles are ties; leave them out"):
        can_tie(np.array([0, 2, 2, 1]), False)
