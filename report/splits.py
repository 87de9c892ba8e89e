"""The figures of one stack over several splits of its battles into folds: their mean, and how far a split moves them.

The nested log loss of one split depends on which battles happen to share a fold. Its mean over splits depends less on
that; its standard deviation over splits says by how much the figure of a single split may differ from another's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oof.metrics import paired_standard_error

_NAME_WIDTH = 24


def spread(losses: Mapping[int, Mapping[str, np.ndarray]], groups: np.ndarray, stack: str) -> dict[str, dict[str, Any]]:
    """Model → figures of its log loss over splits, the best model first.

    losses: seed of the split → model → loss of each battle (n,), in nats, the same battles in the same order in every
    split. groups (n,): battles of one number share a prompt. `splits` are the means of each split, `mean` and
    `deviation` (ddof 1) those over splits. `standard_error` is that of the mean for other battles, of each battle's
    mean loss over splits, clustered by `groups`; `difference` to
    the model `stack` likewise, above 0 where the model is worse.
    """
    first = next(iter(losses.values()))
    means = {name: np.mean([split[name] for split in losses.values()], axis=0) for name in first}
    result = {}
    for name in sorted(means, key=lambda name: float(means[name].mean())):
        of_splits = [float(split[name].mean()) for split in losses.values()]
        result[name] = {
            "splits": of_splits,
            "mean": float(np.mean(of_splits)),
            "deviation": float(np.std(of_splits, ddof=1)),
            "standard_error": paired_standard_error(means[name], np.zeros(len(groups)), groups),
            "difference": float((means[name] - means[stack]).mean()),
            "difference_standard_error": paired_standard_error(means[name], means[stack], groups),
        }
    return result


def text_table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures of `spread` as a table of at most 120 columns."""
    heads = ["model", "log loss, nats: mean", "± s.e.", "s.d. of splits", "least", "most", "to stack", "± s.e."]
    rows = [heads]
    for name, one in figures.items():
        values = [one["mean"], one["standard_error"], one["deviation"], min(one["splits"]), max(one["splits"])]
        values += [one["difference"], one["difference_standard_error"]]
        short = name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 1]}…"
        rows.append([short, *(f"{value:.4f}" for value in values)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(_aligned(row, widths)) for row in rows)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
