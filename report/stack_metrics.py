"""The figures of a stack: `oof/<run>/metrics.json`, and the summary that `make stack` prints."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from oof.metrics import calibrated_error
from report.scores import score, text_table


@dataclass(frozen=True)
class StackResults:
    """What is scored on the same n battles, with votes `labels` (n,) and `groups` (n,) for standard errors.

    bases, candidates: name → out-of-fold probabilities (n, 3). stack: the candidate that all others are compared with.
    seconds: base or candidate → seconds it took, where they are known.
    """

    labels: np.ndarray
    groups: np.ndarray | None
    bases: Mapping[str, np.ndarray]
    candidates: Mapping[str, np.ndarray]
    stack: str
    seconds: Mapping[str, float]


def stack_metrics(
    results: StackResults, battles: int, leave_one_out: Mapping[str, float], about: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of `metrics.json`: figures of bases and candidates, and `about`, which the stacker says of itself.

    `battles` counts all voted battles of the run, covered by every base or not; leave_one_out: base → nats lost
    without it.
    """
    labels, stack, groups = results.labels, results.stack, results.groups
    stacked = results.candidates[stack]
    bases = score({**results.bases, stack: stacked}, labels, stack, results.seconds, groups)
    candidates = score(results.candidates, labels, stack, results.seconds, groups)
    del bases[stack]
    expected, deviation = calibrated_error(stacked)
    return {
        "battles": battles,
        "covered": len(labels),
        "bases": bases,
        "candidates": candidates,
        "leave_one_out": dict(leave_one_out),
        "calibrated_ece": {"mean": expected, "standard_deviation": deviation},
        **about,
    }


def summary(metrics: Mapping[str, Any], stack: str) -> str:
    """The lines that `make stack` prints of `metrics.json`."""
    lines = [text_table(metrics["bases"] | metrics["candidates"])]
    if metrics["leave_one_out"]:
        changes = ", ".join(f"{name} {change:+.4f}" for name, change in metrics["leave_one_out"].items())
        lines.append(f"log loss of the optimal blend without a base: {changes}")
    chance = metrics["calibrated_ece"]
    lines.append(
        "ece that perfectly calibrated probabilities would have on so many rows: "
        f"{chance['mean']:.4f} ± {chance['standard_deviation']:.4f}"
    )
    if metrics["optimistic"]:
        lowest = min(metrics["optimistic"].values())
        lines.append(f"best trial's log loss on the folds it was chosen on, optimistic: {lowest:.4f}")
    nested = metrics["candidates"][stack]["log_loss"]
    lines.append(f"ships: {metrics['shipped']}; nested log loss {nested:.4f} on {metrics['covered']} battles")
    return "\n".join(lines)
