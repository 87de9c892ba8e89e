"""Figures of the battles themselves: length and votes, appearances, pairings, win rates."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from report.style import ACCENT, INK, MUTED, WIDTH, clean, panels, rows_of, shortened

TOP = 20
PAIRED_LENGTH = 26
_HALF = WIDTH * 0.62


def verbosity(table: pd.DataFrame) -> Figure:
    """Win rate of the longer response by length ratio: votes with their standard error, and what the stack expects."""
    figure, (axes,) = panels(1, 1, WIDTH, 3.0)
    places = np.arange(len(table))
    axes.axhline(0.5, color=MUTED, linewidth=1)
    axes.errorbar(
        places,
        table["votes"],
        yerr=table["standard_error"],
        color=INK,
        marker="o",
        markersize=5,
        capsize=3,
        linewidth=1.4,
        label="votes",
    )
    axes.plot(places, table["predicted"], color=ACCENT, marker="s", markersize=4, linestyle="--", label="stack expects")
    ratios = zip(table["ratio_from"], table["ratio_to"], strict=True)
    axes.set_xticks(places, [f"{_ratio(low)}–{_ratio(high)}" for low, high in ratios])
    axes.tick_params(axis="x", labelsize="small")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(xlabel="how many times as long the longer response is (each point: a tenth of the battles)")
    axes.set_ylabel("win rate, ties half")
    axes.legend()
    return figure


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 1.995 else f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def appearances(counts: pd.Series) -> Figure:
    """Battles of the most frequent models."""
    top = counts.head(TOP)
    return _bars([shortened(str(name)) for name in top.index], top.to_numpy(), _HALF)


def pairings(table: pd.DataFrame) -> Figure:
    """Battles of the most frequent pairings."""
    top = table.head(TOP)
    names = [f"{_half(a)} – {_half(b)}" for a, b in zip(top["first"], top["second"], strict=True)]
    return _bars(names, top["battles"].to_numpy(), WIDTH)


def _half(name: str) -> str:
    text = clean(name)
    return text if len(text) <= PAIRED_LENGTH else text[: PAIRED_LENGTH - 1] + "…"


def _bars(names: list[str], counts: np.ndarray, width: float) -> Figure:
    figure, (axes,) = panels(1, 1, width, 0.6 + 0.24 * len(names))
    positions = rows_of(axes, names)
    drawn = axes.barh(positions, counts, height=0.68, color=ACCENT)
    axes.bar_label(drawn, labels=[f"{count:,}" for count in counts], padding=3, fontsize="small")
    axes.margins(x=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel("battles")
    return figure


def win_rates(table: pd.DataFrame) -> Figure:
    """Win rates of the best ranked models with their standard errors."""
    top = table[table["ranked"]].head(TOP)
    figure, (axes,) = panels(1, 1, _HALF, 0.6 + 0.24 * len(top))
    positions = rows_of(axes, [shortened(name) for name in top["model"]])
    axes.axvline(0.5, color=MUTED, linewidth=1)
    axes.errorbar(
        top["win_rate"],
        positions,
        xerr=top["standard_error"].fillna(0),
        fmt="o",
        color=ACCENT,
        ecolor=MUTED,
        markersize=5,
        elinewidth=1.4,
        capsize=2,
    )
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("win rate, ties half (± standard error)")
    return figure
