"""Two biases of human votes and of what predicts them: the place of a response, and its length."""

import numpy as np
import pandas as pd

from oof.metrics import paired_standard_error
from oof.table import Predictions

_A, _B, _TIE = range(3)


def lead(probabilities: np.ndarray) -> np.ndarray:
    """Probability of A minus that of B, of (n, 3) probabilities: (n,)."""
    return probabilities[:, _A] - probabilities[:, _B]


def vote_position(labels: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """Shares of the votes, and A's lead with its standard error, clustered by `groups`."""
    votes = np.eye(3)[labels]
    return {
        "share_a": float(votes[:, _A].mean()),
        "share_b": float(votes[:, _B].mean()),
        "share_tie": float(votes[:, _TIE].mean()),
        "lead": float(lead(votes).mean()),
        "standard_error": paired_standard_error(lead(votes), np.zeros(len(votes)), groups),
    }


def base_position(base: Predictions, rows: np.ndarray) -> dict[str, float | None]:
    """Mean lead of A on the rows (n,) of a mask, and what it owes to the order in which a base reads the responses.

    `plain` and `swapped` are the mean leads in each order, `swapped` mapped back to the battle's own A and B. A
    base blind to the order has the same in both; `first_place` is half their difference: what it gives the response
    it reads first. `flips` is the share of battles whose favourite changes with the order. All three are of the
    battles read in both orders; None where there is none.
    """
    result: dict[str, float | None] = {"mean": float(lead(base.probabilities[rows]).mean())}
    both = rows if base.swapped is None else rows & ~np.isnan(base.swapped[:, _A])
    if base.plain is None or base.swapped is None or not both.any():
        return result | dict.fromkeys(("plain", "swapped", "first_place", "flips"))
    plain, swapped = base.plain[both], base.swapped[both]
    leads = float(lead(plain).mean()), float(lead(swapped).mean())
    return result | {
        "plain": leads[0],
        "swapped": leads[1],
        "first_place": (leads[0] - leads[1]) / 2,
        "flips": float((plain.argmax(axis=1) != swapped.argmax(axis=1)).mean()),
    }


def verbosity(
    lengths: np.ndarray, labels: np.ndarray, predicted: np.ndarray, groups: np.ndarray, parts: int = 10
) -> pd.DataFrame:
    """How often the longer response wins (a tie counts half), by how much longer it is.

    `lengths` (n, 2) are log(1 + characters) of A and B; `predicted` (n, 3) probabilities. Battles of equal or unknown
    length (NaN) are left out; the others are cut into `parts` of equal size by length ratio. Columns: `ratio_from`,
    `ratio_to`, `battles`, `votes`, `standard_error` (of `votes`, clustered by `groups`) and `predicted`: the mean of
    the predicted probability that the longer wins plus half that of a tie.
    """
    difference = lengths[:, 0] - lengths[:, 1]
    apart = np.flatnonzero(np.abs(difference) > 0)
    order = apart[np.argsort(np.abs(difference[apart]), kind="stable")]
    longer = np.where(difference > 0, _A, _B)
    voted = _share(np.eye(3)[labels], longer)
    expected = _share(predicted, longer)
    table = []
    for rows in np.array_split(order, parts):
        if len(rows):
            ratios = np.exp(np.abs(difference[rows]))
            table.append(
                {
                    "ratio_from": float(ratios[0]),
                    "ratio_to": float(ratios[-1]),
                    "battles": len(rows),
                    "votes": float(voted[rows].mean()),
                    "standard_error": paired_standard_error(voted[rows], np.zeros(len(rows)), groups[rows]),
                    "predicted": float(expected[rows].mean()),
                }
            )
    columns = ["ratio_from", "ratio_to", "battles", "votes", "standard_error", "predicted"]
    return pd.DataFrame(table, columns=columns)


def _share(probabilities: np.ndarray, side: np.ndarray) -> np.ndarray:
    chosen: np.ndarray = probabilities[np.arange(len(side)), side]
    return chosen + probabilities[:, _TIE] / 2
