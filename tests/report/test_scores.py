import numpy as np
import pytest
from sklearn import metrics

from battles.schema import WINNERS
from oof.metrics import macro_f1
from report.scores import class_scores, confusion_matrix, score, text_table


def test_scores_pair_with_the_winner_and_show_what_is_unknown() -> None:
    rng = np.random.default_rng(3)
    probabilities, labels = rng.dirichlet([1.0, 1.5, 0.7], 400), rng.integers(0, 3, 400)
    scores = score({"one": probabilities, "two": np.full((400, 3), 1 / 3)}, labels, "two", {"one": 1.25})
    assert scores["two"]["standard_error"] == 0
    assert scores["two"]["log_loss"] == pytest.approx(np.log(3))
    assert scores["two"]["seconds"] is None
    lines = text_table(scores).splitlines()
    assert lines[0].split() == ["log", "loss", "accuracy", "macro", "f1", "ece", "seconds", "standard", "error"]
    assert lines[2].split()[0] == "two"
    assert "-" in lines[2].split()


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
