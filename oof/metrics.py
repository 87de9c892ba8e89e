"""Metrics of vote probabilities, shape (n, 3), against votes, shape (n,): pure numpy."""

import numpy as np

from battles.schema import CLASSES

SMALLEST = 1e-15


def row_losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Log loss of each row, shape (n,), in nats; probabilities are clipped at 1e-15 from below."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return -np.log(np.maximum(chosen, SMALLEST))


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean multi-class log loss: the competition's score."""
    return float(row_losses(probabilities, labels).mean())


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows whose most probable class is the vote; a tie in probability goes to the first class."""
    return float((probabilities.argmax(axis=1) == labels).mean())


def macro_f1(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """F1 score averaged over the classes; one neither voted nor predicted counts as 0, if it has any probability."""
    predicted = probabilities.argmax(axis=1)
    counts = np.zeros((CLASSES, CLASSES))
    np.add.at(counts, (labels, predicted), 1)
    sizes = counts.sum(axis=0) + counts.sum(axis=1)
    possible = (sizes > 0) | (probabilities > 0).any(axis=0)
    return float((2 * counts.diagonal() / np.maximum(sizes, 1))[possible].mean())


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """ECE of the most probable class over `bins` equal-width bins (Guo et al. 2017, section 2, equation 3)."""
    return _calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels, bins)


def calibrated_error(probabilities: np.ndarray, bins: int = 15, draws: int = 100) -> tuple[float, float]:
    """Mean and standard deviation of the ECE that perfectly calibrated probabilities like these have by chance.

    Votes are drawn from the probabilities themselves, seeded. On few rows even they are far from zero.
    """
    generator, confidence = np.random.default_rng(0), probabilities.max(axis=1)
    errors = [
        _calibration_error(confidence, generator.random(len(confidence)) < confidence, bins) for _ in range(draws)
    ]
    return float(np.mean(errors)), float(np.std(errors))


def _calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gap = np.bincount(bin_of, weights=correct - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def paired_standard_error(losses: np.ndarray, other: np.ndarray, groups: np.ndarray | None = None) -> float:
    """Standard error of the mean difference between two models' losses on the same rows.

    Rows of one group (battles that share a prompt) are not independent: with `groups`, shape (n,), the
    differences are summed within each group first (cluster-robust). Of fewer than two groups or rows it is 0.
    """
    difference = losses - other
    rows = len(difference)
    centred = difference - difference.mean()
    if groups is not None:
        centred = np.bincount(np.unique(groups, return_inverse=True)[1], weights=centred)
    units = len(centred)
    if units < 2:
        return 0.0
    return float(np.sqrt(units / (units - 1) * np.square(centred).sum()) / rows)
