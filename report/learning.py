"""What more battles would bring: log losses by the share of the prompts that was learnt from."""

from typing import NamedTuple

import numpy as np

from oof.metrics import paired_standard_error
from report.inputs import Learning


class Point(NamedTuple):
    """A model's log loss after learning from a share of the battles, with its standard error.

    change: the log loss minus that of all battles, 0 for all of them, with its paired standard error. Battles of one
    prompt count as one in both.
    """

    share: float
    battles: int
    log_loss: float
    standard_error: float
    change: float
    change_error: float


def by_share(learning: Learning) -> dict[str, list[Point]]:
    """Model → its points, the smallest share first."""
    curve, groups = learning.curve, learning.groups
    return {
        model: [
            Point(
                share,
                round(float(battles)),
                float(values.mean()),
                paired_standard_error(values, np.zeros(len(values)), groups),
                float((values - losses[-1]).mean()),
                paired_standard_error(values, losses[-1], groups),
            )
            for share, battles, values in zip(curve.shares, curve.battles, losses, strict=True)
        ]
        for model, losses in curve.losses.items()
    }
