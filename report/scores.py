"""One table of figures for bases and candidates: in JSON for other steps, aligned in text for a reader."""

from collections.abc import Mapping, Sequence

import numpy as np

from oof.metrics import (
    accuracy,
    expected_calibration_error,
    log_loss,
    macro_f1,
    paired_standard_error,
    row_losses,
)

FIGURES = ("log_loss", "accuracy", "macro_f1", "ece", "seconds", "standard_error")


def score(
    probabilities: Mapping[str, np.ndarray],
    labels: np.ndarray,
    winner: str,
    seconds: Mapping[str, float],
    groups: np.ndarray | None = None,
) -> dict[str, dict[str, float | None]]:
    """Figures of every model, all (n, 3) on the same rows.

    `standard_error` is that of the mean difference in log loss against `winner`, clustered by `groups` if given.
    `seconds` is None where it is not known.
    """
    reference = row_losses(probabilities[winner], labels)
    result: dict[str, dict[str, float | None]] = {}
    for name, values in probabilities.items():
        taken = seconds.get(name)
        result[name] = {
            "log_loss": log_loss(values, labels),
            "accuracy": accuracy(values, labels),
            "macro_f1": macro_f1(values, labels),
            "ece": expected_calibration_error(values, labels),
            "seconds": None if taken is None else round(taken, 2),
            "standard_error": paired_standard_error(row_losses(values, labels), reference, groups),
        }
    return result


def text_table(scores: Mapping[str, Mapping[str, float | None]], columns: Sequence[str] = FIGURES) -> str:
    """The figures aligned, one line per model; a figure that is not known is a dash."""
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
