"""What would bring a run's bases within so many hours: settings, fewer folds, or more cards."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np

from models.transformer.planning.description import duration_text
from models.transformer.planning.plan import Plan, Times

# Lengths to cut battles to, the milder first.
LENGTHS = (1024, 512)


def describe_hours(plans: Mapping[str, Plan], hours: float, processes: int) -> str:
    """Whether the bases fit into `hours` one after the other, and, where they do not, what would do."""
    total = sum(plan.seconds for plan in plans.values())
    if total <= 3600 * hours:
        return f"HOURS={hours:g}: {duration_text(total)} in all, it fits"
    ways = [*_settings(plans, hours), *_folds(plans, hours)]
    cards = ceil(processes * total / (3600 * hours))
    ways.append(f"{cards} such cards, NPROC={cards}")
    return f"HOURS={hours:g}: {duration_text(total)} in all, too long; within it with {', or '.join(ways)}"


def shortened(plan: Plan, changes: Mapping[str, Any]) -> float:
    """Seconds of a base under changes of tta, epochs and max_length; those that change nothing are left out.

    Tokens are those of the sampled battles, cut; that shorter rows attend to less is not counted.
    """
    settings = plan.settings.model_copy(update=dict(changes))
    kept = float(np.minimum(plan.counts, settings.max_length).sum() / plan.counts.sum())
    pace = replace(plan.pace, learn=kept * plan.pace.learn, read=kept * plan.pace.read)
    return Times(settings, pace).all(plan.models)


def _settings(plans: Mapping[str, Plan], hours: float) -> Iterator[str]:
    """The mildest settings that suffice, as SET takes them: alone, then added up; none where none do."""
    one_order: dict[str, Any] = {"tta": "none", "tta_seconds": None}
    steps: list[dict[str, Any]] = [one_order, {"max_length": LENGTHS[0]}]
    steps += [one_order | {"max_length": length} for length in LENGTHS]
    steps.append(steps[-1] | {"epochs": 1})
    for step in steps:
        changes = {name: _effective(plan, step) for name, plan in plans.items()}
        seconds = sum(shortened(plan, changes[name]) for name, plan in plans.items())
        if seconds <= 3600 * hours:
            words = [
                f"{name}.{key}={value}"
                for name, change in changes.items()
                for key, value in change.items()
                if value is not None
            ]
            yield f'SET="{" ".join(words)}" ({duration_text(seconds)})'
            return


def _effective(plan: Plan, step: Mapping[str, Any]) -> dict[str, Any]:
    """Of changes, those that make this base shorter."""
    now = plan.settings
    kept = dict(step)
    if kept.get("max_length", 0) >= now.max_length:
        kept.pop("max_length", None)
    if "tta" in kept and now.tta == "none":
        del kept["tta"], kept["tta_seconds"]
    if kept.get("epochs") == now.epochs:
        del kept["epochs"]
    return kept


def _folds(plans: Mapping[str, Plan], hours: float) -> Iterator[str]:
    """How many of the folds can be had, where it is one or more but not all."""
    folds = min(plan.models["fold"].count for plan in plans.values())
    for count in range(folds - 1, 0, -1):
        seconds = 0.0
        for plan in plans.values():
            models = dict(plan.models)
            models["fold"] = replace(models["fold"], count=count)
            seconds += Times(plan.settings, plan.pace).all(models)
        if seconds <= 3600 * hours:
            yield f"FOLDS={','.join(map(str, range(count)))} ({duration_text(seconds)})"
            return
