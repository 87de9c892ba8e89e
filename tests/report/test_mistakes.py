import numpy as np
import pandas as pd

from report.mistakes import confident_mistakes


def test_mistakes_are_sorted_by_the_votes_probability_and_hold_no_hits() -> None:
    rows = pd.DataFrame({"id": list("abcd"), "fold": [0, 1, 2, 3]})
    stack = np.array([[0.9, 0.05, 0.05], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.7, 0.01, 0.29]])
    labels = np.array([0, 1, 0, 1])
    bases = {"same": stack, "other": stack[:, [1, 0, 2]]}
    worst = confident_mistakes(rows, stack, bases, labels, 2)
    assert worst["id"].tolist() == ["d", "c"]
    assert worst["probability"].tolist() == [0.01, 0.1]
    assert worst["favourite"].tolist() == [0, 1]
    assert worst["agreeing"].tolist() == [1, 1]
