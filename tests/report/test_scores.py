import numpy as np
import pytest

from report.scores import score, text_table


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
