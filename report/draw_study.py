"""Figures of the stacker's Optuna studies: history, importances, parallel coordinates."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from report.style import ACCENT, GRID, INK, MUTED, WARNING, panel

PRUNED, COMPLETE = "PRUNED", "COMPLETE"
# Beyond so many the lines of parallel coordinates are one area.
_MOST_LINES = 200


def history(trials: pd.DataFrame) -> Figure:
    """Inner log loss by trial, the best so far, and which trials were pruned."""
    figure, axes = panel(2.4)
    done = trials[trials["state"] == COMPLETE]
    axes.scatter(done["number"], done["value"], s=14, color=ACCENT, label="complete", zorder=3)
    axes.step(done["number"], done["value"].cummin(), where="post", color=INK, linewidth=1.1, label="best so far")
    pruned = trials[trials["state"] == PRUNED]
    if len(pruned):
        axes.scatter(pruned["number"], pruned["value"], s=16, marker="x", color=WARNING, label="pruned", zorder=2)
        # A trial that was pruned early can be so bad that it would flatten all others.
        low, high = done["value"].min(), max(done["value"].max(), float(done["value"].median()) + 0.002)
        axes.set_ylim(low - 0.05 * (high - low), high + 0.15 * (high - low))
    axes.set(xlabel="trial", ylabel="inner log loss, nats")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    return figure


def parallel_coordinates(trials: pd.DataFrame, params: Sequence[str]) -> Figure:
    """One line a complete trial over the params' ranks, the best tenth dark: where the good trials lie."""
    figure, axes = panel(2.9)
    done = trials[trials["state"] == COMPLETE].sort_values("value").head(_MOST_LINES)
    ranks = np.stack([done[name].astype(float).rank(pct=True).to_numpy() for name in params], axis=1)
    best = max(1, len(done) // 10)
    for number in range(len(done) - 1, -1, -1):
        good = number < best
        axes.plot(
            ranks[number], color=ACCENT if good else MUTED, alpha=1 if good else 0.35, linewidth=1.4 if good else 0.8
        )
    axes.set_xticks(range(len(params)), list(params), rotation=50, ha="right", fontsize="small")
    axes.set_ylim(0, 1.03)
    axes.set_yticks([0, 1], ["lowest", "highest"])
    axes.grid(visible=True, axis="x", color=GRID)
    return figure
