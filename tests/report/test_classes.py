import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from battles.schema import WINNERS
from oof.metrics import macro_f1
from report import classes


def test_figures_equal_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet([1, 1.3, 0.8], 300), rng.integers(0, 3, 300)
    counts = classes.confusion_matrix(probabilities, labels)
    np.testing.assert_array_equal(counts, confusion_matrix(labels, probabilities.argmax(1)))
    precision, recall, f1, votes = precision_recall_fscore_support(labels, probabilities.argmax(1))
    figures = classes.class_figures(counts)
    for number, name in enumerate(WINNERS):
        expected = {"precision": precision[number], "recall": recall[number], "f1": f1[number], "votes": votes[number]}
        assert {key: figures[name][key] for key in expected} == pytest.approx(expected)
    assert np.mean([figures[name]["f1"] for name in WINNERS]) == pytest.approx(macro_f1(probabilities, labels))


def test_what_cannot_be_known_is_none() -> None:
    figures = classes.class_figures(np.array([[3, 0, 0], [1, 0, 0], [0, 0, 0]]))
    assert figures["winner_model_b"]["precision"] is None
    assert figures["winner_model_b"]["recall"] == 0
    assert figures["winner_tie"]["recall"] is None
    assert figures["winner_tie"]["f1"] == 0


def test_mistakes_are_sorted_by_the_votes_probability_and_hold_no_hits() -> None:
    rows = pd.DataFrame({"id": list("abcd"), "fold": [0, 1, 2, 3]})
    stack = np.array([[0.9, 0.05, 0.05], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.7, 0.01, 0.29]])
    labels = np.array([0, 1, 0, 1])
    bases = {"same": stack, "other": stack[:, [1, 0, 2]]}
    worst = classes.confident_mistakes(rows, stack, bases, labels, 2)
    assert worst["id"].tolist() == ["d", "c"]
    assert worst["probability"].tolist() == [0.01, 0.1]
    assert worst["favourite"].tolist() == [0, 1]
    assert worst["agreeing"].tolist() == [1, 1]
