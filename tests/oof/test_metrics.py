import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score
from sklearn.metrics import log_loss as reference_log_loss

from oof import metrics


@pytest.fixture
def predicted() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.dirichlet([1.0, 1.5, 0.7], 400), rng.integers(0, 3, 400)


def test_figures_equal_scikit_learns(predicted: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = predicted
    assert metrics.log_loss(probabilities, labels) == pytest.approx(reference_log_loss(labels, probabilities))
    assert metrics.accuracy(probabilities, labels) == accuracy_score(labels, probabilities.argmax(1))
    assert metrics.macro_f1(probabilities, labels) == pytest.approx(
        f1_score(labels, probabilities.argmax(1), average="macro")
    )


def test_a_class_nobody_predicts_counts_as_zero() -> None:
    probabilities = np.tile([0.7, 0.2, 0.1], (4, 1))
    assert metrics.macro_f1(probabilities, np.array([0, 0, 1, 1])) == pytest.approx((2 * 2 / 6 + 0 + 0) / 3)
    # A tie that is impossible is no class.
    probabilities = np.tile([0.8, 0.2, 0.0], (4, 1))
    assert metrics.macro_f1(probabilities, np.array([0, 0, 1, 1])) == pytest.approx((2 * 2 / 6 + 0) / 2)


def test_calibration_error_equals_a_slow_reference(predicted: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = predicted
    expected = 0.0
    for number in range(15):
        rows = [
            i
            for i, p in enumerate(probabilities)
            if number / 15 <= p.max() and (p.max() < (number + 1) / 15 or number == 14)
        ]
        if rows:
            hits = np.mean([labels[i] == probabilities[i].argmax() for i in rows])
            expected += len(rows) / len(labels) * abs(hits - np.mean([probabilities[i].max() for i in rows]))
    assert metrics.expected_calibration_error(probabilities, labels) == pytest.approx(expected)


def test_certain_and_right_is_calibrated() -> None:
    labels = np.array([0, 1, 2, 2])
    assert metrics.expected_calibration_error(np.eye(3)[labels], labels) == 0


def test_calibrated_probabilities_have_the_error_that_is_foretold() -> None:
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet((2, 2, 1), size=2000)
    mean, deviation = metrics.calibrated_error(probabilities)
    drawn = [
        metrics.expected_calibration_error(probabilities, (probabilities.cumsum(1) < u).sum(1).clip(max=2))
        for u in rng.random((100, 2000, 1))
    ]
    assert mean == pytest.approx(np.mean(drawn), abs=3 * deviation / 10)
    assert deviation == pytest.approx(np.std(drawn), rel=0.4)
    over_confident = probabilities**2 / (probabilities**2).sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(1) < rng.random((2000, 1))).sum(1).clip(max=2)
    assert metrics.expected_calibration_error(over_confident, labels) > mean + 5 * deviation
    assert metrics.calibrated_error(np.repeat(probabilities, 25, axis=0))[0] < mean / 3


def test_paired_standard_error_is_the_textbooks_without_groups() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=50), rng.normal(size=50)
    expected = (a - b).std(ddof=1) / np.sqrt(50)
    assert metrics.paired_standard_error(a, b) == pytest.approx(expected)
    assert metrics.paired_standard_error(a, b, np.arange(50)) == pytest.approx(expected)
    assert metrics.paired_standard_error(a, a) == 0


def test_repeating_every_row_within_its_group_adds_no_certainty() -> None:
    rng = np.random.default_rng(1)
    a, b, groups = rng.normal(size=40), rng.normal(size=40), np.arange(40)
    once = metrics.paired_standard_error(a, b, groups)
    thrice = metrics.paired_standard_error(np.tile(a, 3), np.tile(b, 3), np.tile(groups, 3))
    assert thrice == pytest.approx(once)


def test_one_group_has_no_standard_error() -> None:
    assert metrics.paired_standard_error(np.array([1.0, 2.0]), np.zeros(2), np.zeros(2, dtype=int)) == 0
