import numpy as np
import pytest

from battles.errors import BadInput
from oof.leakage import refuse_suspects, suspects
from oof.metrics import log_loss
from oof.probabilities import softmax

ROWS = 4000
RNG = np.random.default_rng(0)
TRUTH = softmax(RNG.normal(scale=0.8, size=(ROWS, 3)))
VOTES = np.array([RNG.choice(3, p=row) for row in TRUTH])
FOLDS = np.arange(ROWS) % 5
WEAK = softmax(0.3 * np.log(TRUTH) + RNG.normal(scale=0.2, size=(ROWS, 3)))


def _remembering(share: float) -> np.ndarray:
    """A model that was shown the votes: each is pulled a little towards what it remembers."""
    return (1 - share) * TRUTH + share * np.eye(3)[VOTES]


def _tempered(probabilities: np.ndarray, factor: float) -> np.ndarray:
    return softmax(factor * np.log(probabilities))


@pytest.mark.parametrize("share", [0.15, 0.25, 0.6])
@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_a_base_that_remembers_its_votes_is_suspected_whatever_its_temperature(share: float, factor: float) -> None:
    memory = _tempered(_remembering(share), factor)
    found = suspects({"memory": memory, "weak": WEAK, "honest": TRUTH}, VOTES, FOLDS)
    assert list(found) == ["memory"]
    assert "ahead of all others together" in found["memory"]


def test_memory_of_half_of_the_rows_is_suspected_beside_an_honest_base_of_its_kind() -> None:
    half = np.where((np.arange(ROWS) // 5 % 2 == 0)[:, None], _remembering(0.4), TRUTH)
    found = suspects({"memory": half, "honest": TRUTH, "weak": WEAK}, VOTES, FOLDS)
    assert list(found) == ["memory"]
    assert "a weight of -" in found["memory"]


def test_a_base_that_was_trained_on_one_fold_is_suspected_there() -> None:
    one = np.where((FOLDS == 3)[:, None], _remembering(0.3), TRUTH)
    better = softmax(0.9 * np.log(TRUTH))
    found = suspects({"memory": one, "honest": better}, VOTES, FOLDS)
    assert list(found) == ["memory"]
    weaker = np.where((FOLDS == 3)[:, None], 0.7 * WEAK + 0.3 * np.eye(3)[VOTES], WEAK)
    only_there = suspects({"memory": weaker, "honest": TRUTH}, VOTES, FOLDS)
    assert only_there["memory"].startswith("in fold 3 it is ")


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.0, 1.3, 2.0])
def test_an_honest_base_is_not_however_far_ahead_and_whatever_its_temperature(factor: float) -> None:
    base = _tempered(TRUTH, factor)
    assert suspects({"honest": base, "weak": WEAK}, VOTES, FOLDS) == {}
    assert suspects({"honest": base, "other": softmax(0.7 * np.log(TRUTH)), "weak": WEAK}, VOTES, FOLDS) == {}


def test_one_base_alone_cannot_be_judged() -> None:
    assert suspects({"memory": _remembering(0.5)}, VOTES, FOLDS) == {}


def test_a_base_without_a_class_is_judged_by_the_others() -> None:
    two = VOTES < 2
    bases = {"honest": TRUTH, "weak": WEAK, "memory": _remembering(0.4)}
    bases = {
        name: np.column_stack([values[:, :2] / values[:, :2].sum(axis=1, keepdims=True), np.zeros(ROWS)])[two]
        for name, values in bases.items()
    }
    assert list(suspects(bases, VOTES[two], FOLDS[two])) == ["memory"]


def test_a_suspect_is_refused_by_name_and_with_the_way_out() -> None:
    refuse_suspects({"weak": WEAK, "honest": TRUTH}, VOTES, FOLDS)
    with pytest.raises(BadInput, match=r"base memory: it is .* leave it out of BASES, .* ALLOW_SUSPECT=1"):
        refuse_suspects({"memory": _remembering(0.25), "weak": WEAK}, VOTES, FOLDS)


@pytest.mark.parametrize("rows", [8, 30, 100, 199, 250])
def test_honest_bases_on_few_battles_are_not_refused(rows: int) -> None:
    """What looks like memory there is chance."""
    refused = ahead = 0
    for seed in range(100):
        at = np.random.default_rng(seed).choice(ROWS, rows, replace=False)
        bases = {"honest": TRUTH[at], "weak": WEAK[at]}
        ahead += log_loss(bases["weak"], VOTES[at]) - log_loss(bases["honest"], VOTES[at]) > 0.1
        refused += bool(suspects(bases, VOTES[at], FOLDS[at]))
    assert refused <= 1
    assert ahead >= 5


@pytest.mark.parametrize("rows", [200, 400])
def test_a_base_that_remembers_much_is_still_suspected_on_few_battles(rows: int) -> None:
    memory = 0.5 * TRUTH[:rows] + 0.5 * np.eye(3)[VOTES[:rows]]
    found = suspects({"memory": memory, "honest": TRUTH[:rows]}, VOTES[:rows], FOLDS[:rows])
    assert list(found) == ["memory"]
