"""The section on the figures of other splits of the battles into folds."""

from collections.abc import Mapping
from typing import Any

from report.figures_as_text import DASH, number
from report.page import Section, Table, Words

_Z = 1.96
_HEAD = ["model", "log loss, nats: mean", "± 95 %", "s.d. of splits", "least", "most", "to stack", "± 95 %"]


def splits(given: Mapping[str, Any]) -> Section:
    """What `report.splits.spread` found, with the seeds of the splits; for runs that have more than one."""
    seeds, models = given["seeds"], given["models"]
    words = (
        f"The whole run, repeated on {len(seeds)} splits of the same battles into folds (prepare.seed {seeds[0]} to "
        f"{seeds[-1]}). The other figures of this page are of the first one alone. The standard deviation says how far "
        "the figure of one split lies from another's by the draw of the folds; ± is for other battles, those of one "
        "prompt counted as one."
    )
    return Section("splits", "Other splits", [Words(words), Table(_HEAD, [_line(*one) for one in models.items()])])


def _line(name: str, one: Mapping[str, Any]) -> list[str]:
    values = [one["mean"], _Z * one["standard_error"], one["deviation"], min(one["splits"]), max(one["splits"])]
    behind = one["difference_standard_error"] > 0
    difference = number(one["difference"], sign=True) if behind else DASH
    return [name, *map(number, values), difference, number(_Z * one["difference_standard_error"]) if behind else DASH]
