"""Scores of predictions, of a whole model and of each class: as JSON values, and aligned as text for a reader."""

from collections.abc import Mapping, Sequence

import numpy as np

from battles.schema import CLASSES, WINNERS
from oof.metrics import (
    accuracy,
    expected_calibration_error,
    log_loss,
    macro_f1,
    paired_standard_error,
    row_losses,
)

COLUMNS = ("log_loss", "accuracy", "macro_f1", "ece", "seconds", "standard_error")


def model_scores(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Log loss, accuracy, macro-F1 and calibration error of probabilities (n, 3) against votes (n,)."""
    return {
        "log_loss": log_loss(probabilities, labels),
        "accuracy": accuracy(probabilities, labels),
        "macro_f1": macro_f1(probabilities, labels),
        "ece": expected_calibration_error(probabilities, labels),
    }


def score(
    probabilities: Mapping[str, np.ndarray],
    labels: np.ndarray,
    winner: str,
    seconds: Mapping[str, float],
    groups: np.ndarray | None = None,
) -> dict[str, dict[str, float | None]]:
    """Scores of several models, all (n, 3) on the same rows.

    `standard_error` is that of the mean difference in log loss against `winner`, clustered by `groups` if given.
    `seconds` is None where it is not known.
    """
    reference = row_losses(probabilities[winner], labels)
    result: dict[str, dict[str, float | None]] = {}
    for name, values in probabilities.items():
        duration = seconds.get(name)
        result[name] = {
            **model_scores(values, labels),
            "seconds": None if duration is None else round(duration, 2),
            "standard_error": paired_standard_error(row_losses(values, labels), reference, groups),
        }
    return result


def confusion_matrix(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Battles by vote (rows) and by most probable class (columns), int64 (3, 3)."""
    counts = np.zeros((CLASSES, CLASSES), dtype=np.int64)
    np.add.at(counts, (labels, probabilities.argmax(axis=1)), 1)
    return counts


def class_scores(confusion: np.ndarray) -> dict[str, dict[str, float | int | None]]:
    """Precision, recall, F1, votes and predictions of every class, by its winner column.

    Precision is None for a class that is never predicted, recall for one without votes; F1 is then 0.
    """
    result: dict[str, dict[str, float | int | None]] = {}
    for number, name in enumerate(WINNERS):
        hits, votes, predicted = (
            int(confusion[number, number]),
            int(confusion[number].sum()),
            int(confusion[:, number].sum()),
        )
        result[name] = {
            "precision": hits / predicted if predicted else None,
            "recall": hits / votes if votes else None,
            "f1": 2 * hits / max(votes + predicted, 1),
            "votes": votes,
            "predicted": predicted,
        }
    return result


def text_table(scores: Mapping[str, Mapping[str, float | None]], columns: Sequence[str] = COLUMNS) -> str:
    """The scores aligned, one line per model; one that is not known is a dash."""
    decimals = {"seconds": 1}
    rows = [["", *(name.replace("_", " ") for name in columns)]]
    for model, figures in scores.items():
        cells = [
            "-" if (value := figures.get(name)) is None else f"{value:.{decimals.get(name, 4)}f}" for name in columns
        ]
        rows.append([model, *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = (
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
