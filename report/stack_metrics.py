"""The figures of a stack: `oof/<run>/metrics.json`, and the summary that `make stack` prints."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from oof.probabilities import class_count
from report.scores import score, text_table, twins


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
    results: StackResults, battles: int, leave_one_out: Mapping[str, Mapping[str, float]], about: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of `metrics.json`: figures of bases and candidates, and `about`, which the stacker says of itself.

    `battles` counts all voted battles of the run, covered by every base or not; leave_one_out: base → the nats lost
    without it (`change`) and their `standard_error`.
    """
    labels, stack, groups = results.labels, results.stack, results.groups
    stacked = results.candidates[stack]
    bases = score({**results.bases, stack: stacked}, labels, stack, results.seconds, groups)
    candidates = score(results.candidates, labels, stack, results.seconds, groups)
    del bases[stack]
    return {
        "battles": battles,
        "covered": len(labels),
        "classes": class_count(stacked),
        "bases": bases,
        "candidates": candidates,
        "leave_one_out": {name: dict(lost) for name, lost in leave_one_out.items()},
        **about,
    }


def summary(metrics: Mapping[str, Any], stack: str) -> str:
    """The lines that `make stack` prints of `metrics.json`."""
    shipped, nested = metrics["shipped"], metrics["candidates"][stack]
    everything = metrics["bases"] | metrics["candidates"]
    lines = [text_table(everything, shipped, [stack]), _LEGEND]
    if metrics["classes"] == 2:
        lines.append(
            f"two classes, no ties: accuracy {nested['accuracy']:.4f}, two-class log loss {nested['log_loss']:.4f} "
            "(0.6931 for one half each)"
        )
    if repeated := twins(everything, kept=(shipped, stack)):
        lines.append(
            f"not shown, as they repeat another: {', '.join(f'{name} = {of}' for name, of in repeated.items())}"
        )
    if metrics["leave_one_out"]:
        changes = ", ".join(
            f"{name} {lost['change']:+.4f} ± {lost['standard_error']:.4f}"
            for name, lost in metrics["leave_one_out"].items()
        )
        lines.append(f"nats lost by the optimal blend without a base: {changes}")
    if metrics["optimistic"]:
        lowest = min(metrics["optimistic"].values())
        lines.append(f"chosen trial on the folds it was chosen on, optimistic: {lowest:.4f}")
    lines.append(
        f"* ships: {shipped}. Nested log loss of the stack: {nested['log_loss']:.4f} ± "
        f"{nested['log_loss_standard_error']:.4f} on {metrics['covered']:,} battles"
    )
    return "\n".join(line for text in lines for line in wrap(text))


def wrap(text: str) -> list[str]:
    """Lines of at most 120 columns; lines of a table are left as they are."""
    return [
        part
        for line in text.splitlines()
        for part in (textwrap.wrap(line, 120, subsequent_indent="  ") if len(line) > 120 else [line])
    ]


_LEGEND = (
    "seconds: a base's training and prediction of all folds; a candidate's fits, which run side by side, added up; the "
    "stack's as a clock shows them. ± s.e.: standard error, battles of one prompt counted as one."
)
