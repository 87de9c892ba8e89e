import numpy as np
import pytest

from battles.errors import BadInput
from oof.leakage import AHEAD, UNDER_CONFIDENT, refuse_suspects, sharpening, suspects
from oof.metrics import log_loss
from oof.probabilities import softmax

ROWS = 4000
RNG = np.random.default_rng(0)
TRUTH = softmax(RNG.normal(scale=0.8, size=(ROWS, 3)))
VOTES = np.array([RNG.choice(3, p=row) for row in TRUTH])
WEAK = softmax(0.3 * np.log(TRUTH) + RNG.normal(scale=0.2, size=(ROWS, 3)))


def _remembering(share: float) -> np.ndarray:
    """A model that was shown the votes: each is pulled a little towards what it remembers."""
    return (1 - share) * TRUTH + share * np.eye(3)[VOTES]


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.7])
def test_sharpening_is_the_inverse_of_what_was_flattened(factor: float) -> None:
    assert sharpening(softmax(np.log(TRUTH) / factor), VOTES) == pytest.approx(factor, rel=0.08)


def test_a_base_that_remembers_its_votes_is_suspected() -> None:
    found = suspects({"memory": _remembering(0.25), "weak": WEAK, "honest": TRUTH}, VOTES)
    assert list(found) == ["memory"]
    assert "below that of the next base" in found["memory"]


def test_an_honest_base_is_not_however_far_ahead_or_sure() -> None:
    uniform = np.full((ROWS, 3), 1 / 3)
    assert suspects({"honest": TRUTH, "uniform": uniform}, VOTES) == {}
    assert suspects({"sure": softmax(1.3 * np.log(TRUTH)), "uniform": uniform}, VOTES) == {}
    assert suspects({"modest": softmax(0.7 * np.log(TRUTH)), "honest": TRUTH}, VOTES) == {}


def test_one_base_alone_cannot_be_judged() -> None:
    assert suspects({"memory": _remembering(0.5)}, VOTES) == {}


def test_a_suspect_is_refused_by_name_and_with_the_way_out() -> None:
    refuse_suspects({"weak": WEAK, "honest": TRUTH}, VOTES)
    with pytest.raises(BadInput, match=r"base memory: its log loss .* leave it out of BASES, .* ALLOW_SUSPECT=1"):
        refuse_suspects({"memory": _remembering(0.25), "weak": WEAK}, VOTES)


@pytest.mark.parametrize("rows", [8, 30, 100, 199, 250])
def test_honest_bases_on_few_battles_are_not_refused(rows: int) -> None:
    """What looks like memory there is chance: a guard without a standard error refuses one table in so many."""
    refused = by_chance = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        at = rng.choice(ROWS, rows, replace=False)
        bases = {"honest": TRUTH[at], "weak": WEAK[at]}
        ahead = log_loss(bases["weak"], VOTES[at]) - log_loss(bases["honest"], VOTES[at])
        by_chance += ahead > AHEAD and sharpening(bases["honest"], VOTES[at]) > UNDER_CONFIDENT
        refused += bool(suspects(bases, VOTES[at]))
    assert refused <= 1
    assert by_chance >= 5


@pytest.mark.parametrize("rows", [200, 400])
def test_a_base_that_remembers_much_is_still_suspected_on_few_battles(rows: int) -> None:
    memory = 0.5 * TRUTH[:rows] + 0.5 * np.eye(3)[VOTES[:rows]]
    assert list(suspects({"memory": memory, "honest": TRUTH[:rows]}, VOTES[:rows])) == ["memory"]
