import numpy as np
import pandas as pd
import pytest

from battles.errors import BadInput
from oof.metrics import log_loss, paired_standard_error, row_losses
from oof.probabilities import without_ties
from oof.table import Predictions
from report.comparison import ComparedRun, compare, differing, params_table

ROWS = 300
RNG = np.random.default_rng(0)
TRUTH = RNG.dirichlet([2, 2, 2], ROWS)
LABELS = np.array([RNG.choice(3, p=row) for row in TRUTH])
GROUPS = np.arange(ROWS) // 3


def run(weight: float, covered: int = ROWS, **changes: object) -> ComparedRun:
    values = weight * TRUTH + (1 - weight) / 3
    values[covered:] = np.nan
    mask = np.arange(ROWS) < covered
    given = {"fold_hash": "f", "labels": LABELS, "seconds": 10.0 * weight, "params": {"stack": {"trials": 20}}}
    return ComparedRun(**{**given, "stack": Predictions(values, None, None, mask, {}), **changes})  # type: ignore[arg-type]


def test_figures_are_those_of_the_rows_that_all_cover() -> None:
    found = compare({"one": run(1.0), "two": run(0.2, covered=200)}, GROUPS)
    assert found.rows == 200
    assert found.classes == 3
    one, two = (run(weight).stack.probabilities[:200] for weight in (1.0, 0.2))
    losses = [row_losses(values, LABELS[:200]) for values in (one, two)]
    assert found.scores["one"]["log_loss"] == pytest.approx(log_loss(one, LABELS[:200]))
    assert found.scores["one"]["difference"] == 0
    assert found.scores["two"]["difference"] == pytest.approx((losses[1] - losses[0]).mean())
    expected = paired_standard_error(losses[1], losses[0], GROUPS[:200])
    assert found.scores["two"]["difference_standard_error"] == pytest.approx(expected)
    assert expected != pytest.approx(paired_standard_error(losses[1], losses[0]))
    assert found.scores["two"]["accuracy"] == found.scores["one"]["accuracy"]
    assert found.scores["two"]["seconds"] == pytest.approx(2.0)


def test_unknown_seconds_stay_unknown() -> None:
    found = compare({"one": run(1.0), "two": run(0.5, seconds=None)}, GROUPS)
    assert found.scores["two"]["seconds"] is None


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (run(0.5, fold_hash="g"), r"RUNS: two has another split than one \(fold hash g, f\)"),
        (run(0.5, labels=(LABELS + 1) % 3), "RUNS: two has other votes than one"),
        (
            run(0.5, stack=Predictions(without_ties(TRUTH), None, None, np.ones(ROWS, dtype=bool), {})),
            "RUNS: one has 3 classes, two has 2 classes, whose log losses mean different things",
        ),
        (run(0.5, covered=0), "RUNS: one, two have no fold in common that was run"),
    ],
)
def test_runs_of_different_battles_are_refused(other: ComparedRun, expected: str) -> None:
    with pytest.raises(BadInput, match=expected):
        compare({"one": run(1.0), "two": other}, GROUPS)


def test_only_settings_that_differ_are_listed() -> None:
    params = {
        "one": {"stack": {"trials": 20, "seed": 1, "workers": 2}, "tfidf": {"chars": [3, 4], "ridge": 2.0}},
        "two": {"stack": {"trials": 9, "seed": 1, "workers": 4}, "tfidf": {"chars": [3], "ridge": 2.0}},
        "three": {"stack": {"trials": 20, "seed": 1}, "llama": {"lora": {"rank": 16}}},
    }
    assert differing(params) == {
        "llama.lora.rank": ["-", "-", "16"],
        "stack.trials": ["20", "9", "20"],
        "tfidf.chars": ["3,4", "3", "-"],
        "tfidf.ridge": ["2.0", "2.0", "-"],
    }
    assert differing(dict.fromkeys(("one", "two"), params["one"])) == {}


def test_the_settings_stand_in_columns_of_bounded_width() -> None:
    long = run(0.5, params={"stack": {"trials": 9}, "llama": {"backbone": "x" * 100}})
    text = params_table(compare({"one": run(1.0), "two": long}, GROUPS))
    assert [line.split() for line in text.splitlines()[1:]] == [
        ["llama.backbone", "-", "x" * 35 + "…"],
        ["stack.trials", "20", "9"],
    ]
    assert params_table(compare({"one": run(1.0), "two": run(0.5)}, GROUPS)) == "settings: the same"
    assert pd.Series(text.splitlines()).str.len().max() < 120
