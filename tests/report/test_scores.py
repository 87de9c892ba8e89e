import numpy as np
import pytest
from sklearn import metrics

from battles.schema import WINNERS
from oof.metrics import macro_f1
from report.scores import class_scores, confusion_matrix, score, text_table, twins


def _scores() -> dict[str, dict[str, float | None]]:
    rng = np.random.default_rng(3)
    probabilities, labels = rng.dirichlet([1.0, 1.5, 0.7], 400), rng.integers(0, 3, 400)
    models = {"one": probabilities, "two": np.full((400, 3), 1 / 3), "copy": probabilities}
    return score(models, labels, "two", {"one": 1.25})


def test_scores_have_an_error_of_their_own_and_one_of_the_difference() -> None:
    scores = _scores()
    assert scores["two"]["difference"] == scores["two"]["difference_standard_error"] == 0
    # Equal probabilities have the same loss on every battle; their difference to a model varies.
    assert scores["two"]["log_loss_standard_error"] == pytest.approx(0, abs=1e-12)
    assert (scores["one"]["log_loss_standard_error"] or 0) > 0.01
    assert scores["two"]["log_loss"] == pytest.approx(np.log(3))
    assert scores["one"]["difference"] == pytest.approx((scores["one"]["log_loss"] or 0) - np.log(3))
    assert scores["two"]["seconds"] is None


def test_the_table_is_sorted_headed_narrow_and_marks_what_ships() -> None:
    scores = _scores()
    scores["a-name-that-is-as-long-as-a-sentence"] = scores["two"] | {"accuracy": 0.5}
    lines = text_table(scores, shipped="one").splitlines()
    assert " ".join(lines[0].split()) == (
        "model log loss, nats ± s.e. to stack ± s.e. accuracy macro-F1 ECE by chance seconds"
    )
    assert [line.split()[0] for line in lines[1:]] == ["two", "a-name-that-is-as-long-…", "one"]
    assert lines[3].split()[1] == "*"
    assert "-" in lines[1].split()
    assert max(map(len, lines)) <= 120


def test_what_repeats_another_is_told_by_its_figures() -> None:
    assert twins(_scores()) == {"copy": "one"}
    assert twins(_scores(), kept=["copy"]) == {}
    scores = _scores()
    # Logarithms of probabilities and back: the same but for the last bits.
    scores["copy"] = {key: value and value * (1 + 1e-15) for key, value in scores["copy"].items()}
    assert twins(scores) == {"copy": "one"}
    scores["copy"]["log_loss"] = (scores["copy"]["log_loss"] or 0.0) + 1e-6
    assert twins(scores) == {}


def test_class_scores_equal_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet([1, 1.3, 0.8], 300), rng.integers(0, 3, 300)
    counts = confusion_matrix(probabilities, labels)
    np.testing.assert_array_equal(counts, metrics.confusion_matrix(labels, probabilities.argmax(1)))
    precision, recall, f1, votes = metrics.precision_recall_fscore_support(labels, probabilities.argmax(1))
    figures = class_scores(counts)
    for number, name in enumerate(WINNERS):
        expected = {"precision": precision[number], "recall": recall[number], "f1": f1[number], "votes": votes[number]}
        assert {key: figures[name][key] for key in expected} == pytest.approx(expected)
    assert np.mean([figures[name]["f1"] for name in WINNERS]) == pytest.approx(macro_f1(probabilities, labels))


def test_a_class_score_that_cannot_be_known_is_none() -> None:
    figures = class_scores(np.array([[3, 0, 0], [1, 0, 0], [0, 0, 0]]))
    assert figures["winner_model_b"]["precision"] is None
    assert figures["winner_model_b"]["recall"] == 0
    assert figures["winner_tie"]["recall"] is None
    assert figures["winner_tie"]["f1"] == 0
