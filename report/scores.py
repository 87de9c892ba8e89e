"""Scores of predictions, of a whole model and of each class: as JSON values, and aligned as text for a reader."""

from collections.abc import Collection, Mapping

import numpy as np

from battles.schema import CLASSES, WINNERS
from oof.metrics import (
    accuracy,
    calibrated_error,
    expected_calibration_error,
    log_loss,
    macro_f1,
    paired_standard_error,
    row_losses,
)

# Decimals to which equal predictions have equal figures, whatever the order of their sums.
_TOLD_APART = 9
# The figures of a table on the terminal: key, head with its unit, decimals.
_COLUMNS = (
    ("log_loss", "log loss, nats", 4),
    ("log_loss_standard_error", "± s.e.", 4),
    ("difference", "to stack", 4),
    ("difference_standard_error", "± s.e.", 4),
    ("accuracy", "accuracy", 4),
    ("macro_f1", "macro-F1", 4),
    ("ece", "ECE", 4),
    ("chance_ece", "by chance", 4),
    ("seconds", "seconds", 1),
)
# A table is no wider: model names longer than this are cut.
_NAME_WIDTH = 24

Scores = Mapping[str, Mapping[str, float | None]]


def model_scores(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Log loss, accuracy, macro-F1 and calibration error of probabilities (n, 3) against votes (n,).

    `chance_ece` is the calibration error that the same probabilities would have by chance if they were perfectly
    calibrated: the one to compare `ece` with.
    """
    return {
        "log_loss": log_loss(probabilities, labels),
        "accuracy": accuracy(probabilities, labels),
        "macro_f1": macro_f1(probabilities, labels),
        "ece": expected_calibration_error(probabilities, labels),
        "chance_ece": calibrated_error(probabilities)[0],
    }


def score(
    probabilities: Mapping[str, np.ndarray],
    labels: np.ndarray,
    winner: str,
    seconds: Mapping[str, float],
    groups: np.ndarray | None = None,
) -> dict[str, dict[str, float | None]]:
    """Scores of several models, all (n, 3) on the same rows.

    `log_loss_standard_error` is that of the log loss itself; `difference` is the mean difference in log loss to
    `winner`, above 0 where the model is worse, with its own, usually smaller, standard error. Both are clustered by
    `groups` if given. `seconds` is None where it is not known.
    """
    reference = row_losses(probabilities[winner], labels)
    result: dict[str, dict[str, float | None]] = {}
    for name, values in probabilities.items():
        duration, losses = seconds.get(name), row_losses(values, labels)
        result[name] = {
            **model_scores(values, labels),
            "seconds": None if duration is None else round(duration, 2),
            "log_loss_standard_error": paired_standard_error(losses, np.zeros(len(losses)), groups),
            "difference": float((losses - reference).mean()),
            "difference_standard_error": paired_standard_error(losses, reference, groups),
        }
    return result


def twins(scores: Scores, kept: Collection[str] = ()) -> dict[str, str]:
    """Model → an earlier one whose predictions it repeats: the best base where there is one base only, say.

    They are told by equal figures, to the rounding of floats. None of `kept` is such a repetition.
    """
    first: dict[tuple[float | None, ...], str] = {}
    result = {}
    for name, figures in scores.items():
        known = (figures[column] for column in ("log_loss", "accuracy", "macro_f1", "ece"))
        key = tuple(None if value is None else round(value, _TOLD_APART) for value in known)
        if key in first and name not in kept:
            result[name] = first[key]
        first.setdefault(key, name)
    return result


def confusion_matrix(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Battles by vote (rows) and by most probable class (columns), int64 (3, 3)."""
    counts = np.zeros((CLASSES, CLASSES), dtype=np.int64)
    np.add.at(counts, (labels, probabilities.argmax(axis=1)), 1)
    return counts


def class_scores(confusion: np.ndarray, classes: int = CLASSES) -> dict[str, dict[str, float | int | None]]:
    """Precision, recall, F1, votes and predictions of the first `classes` classes, by their winner columns.

    Precision is None for a class that is never predicted, recall for one without votes; F1 is then 0.
    """
    result: dict[str, dict[str, float | int | None]] = {}
    for number, name in enumerate(WINNERS[:classes]):
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


def text_table(
    scores: Scores, shipped: str | None = None, kept: Collection[str] = (), reference: str | None = None
) -> str:
    """The scores as a table of at most 120 columns, the lowest log loss first; `shipped` is marked with a star.

    What is not known is a dash. Models that repeat an earlier one's predictions are left out, but for those `kept`;
    unless differences are to another `reference` than the stack: then they are of different runs, and all stand there.
    """
    repeated = {} if reference else twins(scores, kept=(*kept, *([shipped] if shipped else [])))
    heads = [f"to {reference}" if reference and key == "difference" else head for key, head, _ in _COLUMNS]
    rows = [["model", *heads]]
    for model in sorted(scores, key=lambda name: scores[name]["log_loss"] or 0.0):
        if model not in repeated:
            name = model if len(model) <= _NAME_WIDTH else f"{model[: _NAME_WIDTH - 1]}…"
            cells = [_cell(scores[model].get(key), decimals) for key, _, decimals in _COLUMNS]
            rows.append([f"{name} *" if model == shipped else name, *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = (
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _cell(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"
