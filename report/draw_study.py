"""Figures of the stacker's Optuna studies: history, importances, parallel coordinates."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from report.charts import chart, singled, ticks, zoomed
from report.style import ACCENT, INK, MUTED, WARNING

PRUNED, COMPLETE = "PRUNED", "COMPLETE"
# Beyond so many the lines of parallel coordinates are one area.
_MOST_LINES = 200


def history(trials: pd.DataFrame) -> alt.LayerChart:
    """Inner log loss by trial, the best so far, and which trials were pruned."""
    done = trials[trials["state"] == COMPLETE].sort_values("number")
    pruned = trials[(trials["state"] == PRUNED) & trials["value"].notna()]
    best = done["value"].cummin()
    records: list[dict[str, Any]] = []
    for kind, numbers, values in (
        ("complete", done["number"], done["value"]),
        ("best so far", [*done["number"], trials["number"].max()], [*best, best.iloc[-1]]),
        ("pruned", pruned["number"], pruned["value"]),
    ):
        records += [
            {"kind": kind, "trial": trial, "value": value}
            for trial, value in zip(map(int, numbers), map(float, values), strict=True)
        ]
    low, high = float(done["value"].min()), float(done["value"].max())
    if len(pruned):
        # A trial that was pruned early can be so bad that it would flatten all others.
        high = max(high, float(done["value"].median()) + 0.002)
    room = max(high - low, 1e-4)
    last = int(trials["number"].max())
    step = max(1, -(-last // 5))
    kinds = {"complete": ACCENT, "best so far": INK, "pruned": WARNING}
    present = [kind for kind in kinds if any(record["kind"] == kind for record in records)]
    chosen, opacity = singled("kind")
    base = alt.Chart().encode(
        x=alt.X(
            "trial:Q",
            title="trial",
            axis=ticks(range(0, last + 1, step), format="d"),
            scale=alt.Scale(domain=[-0.03 * last - 0.1, last * 1.03 + 0.1], nice=False),
        ),
        y=alt.Y(
            "value:Q",
            title="inner log loss, nats",
            scale=alt.Scale(domain=[low - 0.05 * room, high + 0.15 * room], nice=False, zero=False),
        ),
        color=alt.Color("kind:N", scale=alt.Scale(domain=present, range=[kinds[kind] for kind in present])),
        opacity=opacity,
    )
    told = [alt.Tooltip("trial:Q"), alt.Tooltip("kind:N", title=" ")]
    told.append(alt.Tooltip("value:Q", title="inner log loss", format=".5f"))
    line = base.transform_filter("datum.kind === 'best so far'").mark_line(
        clip=True, interpolate="step-after", strokeWidth=1.4
    )
    points = base.transform_filter("datum.kind !== 'best so far'").mark_circle(clip=True, size=45)
    return chart([line.add_params(chosen), points.encode(tooltip=told).add_params(zoomed())], records, 180)


def parallel_coordinates(trials: pd.DataFrame, params: Sequence[str]) -> alt.LayerChart:
    """One line a complete trial over the params' ranks, the best tenth dark: where the good trials lie."""
    done = trials[trials["state"] == COMPLETE].sort_values("value").head(_MOST_LINES)
    ranks = np.stack([done[name].astype(float).rank(pct=True).to_numpy() for name in params], axis=1)
    best = max(1, len(done) // 10)
    good, other = "best tenth", "other trials"
    rows = list(zip(done.to_dict("records"), ranks.tolist(), strict=True))
    records = [
        {
            "trial": row["number"],
            "loss": row["value"],
            "group": good if place < best else other,
            "param": name,
            "rank": rank,
            "value": _setting(row[name]),
        }
        for place, (row, of_row) in reversed(list(enumerate(rows)))
        for name, rank in zip(params, of_row, strict=True)
    ]
    chosen, opacity = singled("group")
    groups = alt.Scale(domain=[good, other], range=[ACCENT, MUTED])
    base = alt.Chart().encode(
        x=alt.X(
            "param:O",
            title=None,
            axis=alt.Axis(labelAngle=-50, grid=True),
            scale=alt.Scale(type="point", domain=list(params), padding=0.3),
        ),
        y=alt.Y(
            "rank:Q",
            title=None,
            axis=alt.Axis(values=[0, 1], labelExpr="datum.value ? 'highest' : 'lowest'"),
            scale=alt.Scale(domain=[0, 1.03], nice=False),
        ),
        color=alt.Color("group:N", scale=groups, legend=alt.Legend(symbolType="stroke")),
        detail="trial:N",
        opacity=opacity,
    )
    told = [alt.Tooltip("trial:Q"), alt.Tooltip("loss:Q", title="inner log loss", format=".5f")]
    told += [alt.Tooltip("param:N"), alt.Tooltip("value:N")]
    layers = [
        base.transform_filter(f"datum.group === '{other}'").mark_line(strokeWidth=0.6).add_params(chosen),
        base.transform_filter(f"datum.group === '{good}'").mark_line(strokeWidth=1.8),
        base.mark_circle(size=22).encode(tooltip=told),
    ]
    return chart(layers, records, 170)


def _setting(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
