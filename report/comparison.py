"""Several runs side by side, on the battles of one split that all of them have predicted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from battles.errors import BadInput
from oof.probabilities import class_count
from oof.table import Predictions
from report.scores import score

# Settings that differ between any two runs, or change no prediction.
_NOT_COMPARED = frozenset({"workers", "threads", "jobs", "checkpoint_minutes"})
_ABSENT = "-"
_WIDTH = 36


@dataclass(frozen=True)
class ComparedRun:
    """What is compared of a run.

    fold_hash: of its split. labels (n,): the votes of all its battles, as class numbers. stack: its stack's nested
    out-of-fold probabilities of them. seconds: of all bases and the stack, None where one is not known. params: its
    settings by section.
    """

    fold_hash: str
    labels: np.ndarray
    stack: Predictions
    seconds: float | None
    params: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Comparison:
    """scores: run → figures, `difference` to the first run; `rows` are the battles that all of them cover.

    params: setting → its value in each run, of the settings that are not the same in all.
    """

    rows: int
    classes: int
    scores: Mapping[str, Mapping[str, float | None]]
    params: Mapping[str, Sequence[str]]


def compare(runs: Mapping[str, ComparedRun], groups: np.ndarray) -> Comparison:
    """Compares runs on the rows that all cover; `groups` (n,) are those of the common fold table.

    Differences are to the first run, with paired standard errors in which battles of one prompt count as one. Raises
    BadInput for runs of different splits, votes or classes, and without a common row.
    """
    first, *others = runs
    for name in others:
        _check_same(first, runs[first], name, runs[name])
    covered = np.logical_and.reduce([run.stack.covered for run in runs.values()])
    if not covered.any():
        raise BadInput(f"RUNS: {', '.join(runs)} have no fold in common that was run; run `make oof` without FOLDS")
    probabilities = {name: run.stack.probabilities[covered] for name, run in runs.items()}
    classes = {name: class_count(values) for name, values in probabilities.items()}
    if len(set(classes.values())) > 1:
        said = ", ".join(f"{name} has {count} classes" for name, count in classes.items())
        raise BadInput(f"RUNS: {said}, whose log losses mean different things; give all the same prepare.ties")
    seconds = {name: run.seconds for name, run in runs.items() if run.seconds is not None}
    scores = score(probabilities, runs[first].labels[covered], first, seconds, groups[covered])
    params = differing({name: run.params for name, run in runs.items()})
    return Comparison(int(covered.sum()), classes[first], scores, params)


def _check_same(first: str, one: ComparedRun, name: str, other: ComparedRun) -> None:
    if one.fold_hash != other.fold_hash:
        raise BadInput(
            f"RUNS: {name} has another split than {first} (fold hash {other.fold_hash}, {one.fold_hash}), so their "
            "figures are of different battles; give both the same TRAIN, prepare.folds and prepare.seed"
        )
    if not np.array_equal(one.labels, other.labels):
        raise BadInput(f"RUNS: {name} has other votes than {first} for the same ids; compare runs of the same TRAIN")


def differing(params: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, list[str]]:
    """`section.key` → its value in each run as text, of what is not the same in all; a dash where a run has none."""
    flat = {run: _flat(sections) for run, sections in params.items()}
    keys = sorted({key for values in flat.values() for key in values})
    return {
        key: [values.get(key, _ABSENT) for values in flat.values()]
        for key in keys
        if len({values.get(key, _ABSENT) for values in flat.values()}) > 1
    }


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, inner in value.items():
        if key in _NOT_COMPARED:
            continue
        if isinstance(inner, Mapping):
            found |= _flat(inner, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = ",".join(map(str, inner)) if isinstance(inner, list) else str(inner)
    return found


def params_table(comparison: Comparison) -> str:
    """What differs in the runs' settings, one line each."""
    if not comparison.params:
        return "settings: the same"
    rows = [
        ["settings that differ", *comparison.scores],
        *([key, *values] for key, values in comparison.params.items()),
    ]
    cells = [[cell if len(cell) <= _WIDTH else f"{cell[: _WIDTH - 1]}…" for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )
