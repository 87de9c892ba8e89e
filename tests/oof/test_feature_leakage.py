import numpy as np
import pandas as pd
import pytest

from oof.feature_leakage import implausible
from oof.probabilities import softmax

ROWS = 3000
RNG = np.random.default_rng(0)
TRUTH = softmax(RNG.normal(scale=0.8, size=(ROWS, 3)))
VOTES = np.array([RNG.choice(3, p=row) for row in TRUTH])
BASES = {"weak": softmax(0.3 * np.log(TRUTH)), "good": softmax(np.log(TRUTH) + RNG.normal(scale=0.3, size=(ROWS, 3)))}
FOLDS, GROUPS = np.arange(ROWS) % 5, np.arange(ROWS)
NOISE = RNG.normal(size=ROWS)


def _judged(columns: dict[str, np.ndarray], bases: dict[str, np.ndarray] = BASES, rows: int = ROWS) -> str | None:
    given = {name: values[:rows] for name, values in bases.items()}
    return implausible(pd.DataFrame(columns)[:rows], given, VOTES[:rows], FOLDS[:rows], GROUPS[:rows])


@pytest.mark.parametrize(
    "code",
    [[0.0, 1, 2], [7.0, -3, 1], [1e30, 0, -1e30], [1, 1 + 1e-9, 1 - 1e-9]],
    ids=["label", "code", "huge", "tiny"],
)
def test_the_votes_under_another_name_are_noticed(code: list[float]) -> None:
    reason = _judged({"noise": NOISE, "innocent": np.array(code)[VOTES]})
    assert reason is not None
    assert reason.startswith("column innocent: the features alone reach a log loss of 0.0")
    assert "the best base good only" in reason


def test_one_huge_value_does_not_hide_a_column() -> None:
    leak = VOTES.astype(np.float64)
    leak[7] = 1e300
    assert "column leak" in str(_judged({"leak": leak}))


def test_a_leak_among_many_honest_columns_is_noticed() -> None:
    columns = {f"c{number}": RNG.normal(size=ROWS) for number in range(150)}
    leak = np.array([1.0, -1, 0])[VOTES] + 0.3 * NOISE
    assert "column leak" in str(_judged({**columns, "leak": leak}, rows=800))
    assert _judged(columns, rows=800) is None


def test_predictions_of_rows_that_a_model_was_trained_on_are_noticed() -> None:
    remembered = 0.6 * TRUTH + 0.4 * np.eye(3)[VOTES]
    assert "column x1" in str(_judged({f"x{number}": remembered[:, number] for number in range(2)}))


def test_honest_features_pass_also_beside_bases_that_are_badly_calibrated() -> None:
    lead = np.log(TRUTH[:, 0]) - np.log(TRUTH[:, 1])
    tie = np.log(TRUTH[:, 2])
    assert _judged({"noise": NOISE}) is None
    assert _judged({"lead": lead, "tie": tie, "noise": NOISE}) is None  # all that can be known, but no more
    over_confident = {"sure": softmax(6 * np.log(TRUTH))}
    assert _judged({"lead": lead, "tie": tie}, over_confident) is None


def test_few_battles_are_no_proof() -> None:
    lead = np.log(TRUTH[:, 0]) - np.log(TRUTH[:, 1])
    for rows in range(6, 60):
        assert _judged({"lead": lead}, {"flat": np.full((ROWS, 3), 1 / 3)}, rows=rows) is None
    assert _judged({"label": VOTES}, rows=60) is not None


def test_classes_that_some_or_all_folds_lack(recwarn: pytest.WarningsRecorder) -> None:
    votes = np.zeros(40, dtype=np.int64)
    votes[0] = 2
    for labels in (votes, np.zeros(40, dtype=np.int64)):
        base = {"flat": np.full((40, 3), 1 / 3)}
        implausible(pd.DataFrame({"x": NOISE[:40]}), base, labels, np.arange(40) % 4, np.arange(40))
    assert not recwarn.list


def test_no_features_are_no_leak() -> None:
    assert implausible(pd.DataFrame(index=range(ROWS)), BASES, VOTES, FOLDS, GROUPS) is None
