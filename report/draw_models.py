"""Figures of the predictions: losses, calibration, training curves, position, length. Each is one panel."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from report.learning import Point
from report.style import (
    ACCENT,
    CLASS_COLOURS,
    CLASS_NAMES,
    INK,
    MUTED,
    WARNING,
    WIDTH,
    clean,
    panel,
    rows_of,
    shortened,
)

_POINTS = 300  # of a curve: more than a screen shows
_SMOOTHED_SHARE = 0.08
_MARGIN = 0.04
# Characters of a name beside which a legend of one column has room for nothing else.
_LEGEND = 45


def colours(names: Sequence[str], losses: Sequence[float], prior: float, stack: str) -> list[str]:
    """One colour a model: the stack's, that of models better than the prior, that of worse ones."""
    return [
        INK if name == stack else ACCENT if loss <= prior else WARNING for name, loss in zip(names, losses, strict=True)
    ]


def reliability(table: pd.DataFrame) -> Figure:
    """Observed share against predicted probability, per class."""
    figure, axes = panel(WIDTH)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
    for number, (label, colour) in enumerate(zip(CLASS_NAMES, CLASS_COLOURS, strict=True)):
        part = table[table["class"] == number]
        if part.empty:  # no ties
            continue
        axes.errorbar(
            part["predicted"],
            part["observed"],
            yerr=part["standard_error"],
            color=colour,
            linewidth=1.3,
            elinewidth=0.8,
            marker="o",
            markersize=3,
            label=label,
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("share that came true")
    axes.legend(loc="upper left")
    return figure


def smoothed(losses: pd.Series) -> pd.Series:
    """The mean over the last 8 % of all steps (at the start: over what there is), in the steps' order."""
    return losses.rolling(max(1, round(len(losses) * _SMOOTHED_SHARE)), min_periods=1).mean()


def curves(folds: Mapping[int, pd.DataFrame], squared: bool, prior: float) -> Figure:
    """Training loss of one base, smoothed, one line a fold; dots: log loss on held-out battles.

    `squared`: it was trained on squared errors. Their scale is not that of the dots and the prior, which are left out.
    """
    figure, axes = panel(2.5)
    seen: list[float] = [] if squared else [prior]
    for fold, curve in folds.items():
        colour = f"C{fold % 10}"
        line = smoothed(curve["loss"])
        kept = np.unique(np.linspace(0, len(curve) - 1, _POINTS).round().astype(np.int64))
        axes.plot(
            curve["step"].iloc[kept], line.iloc[kept], color=colour, linewidth=1.1, alpha=0.75, label=f"fold {fold}"
        )
        # The first steps of a fresh head can be so high that they would flatten everything after them.
        seen += [*line.iloc[len(line) // 20 :]]
        checked = curve.dropna(subset="valid_log_loss")
        if not squared and len(checked):
            axes.plot(
                checked["step"],
                checked["valid_log_loss"],
                color=colour,
                marker="o",
                markersize=5,
                linestyle="none",
                markeredgecolor=INK,
                markeredgewidth=0.7,
                zorder=3,
            )
            seen += [*checked["valid_log_loss"]]
    if not squared:
        axes.axhline(prior, color=INK, linewidth=0.8, linestyle="--")
    low, high = min(seen), max(seen)
    room = _MARGIN * max(high - low, 0.01)
    axes.set(ylim=(low - room, high + room), xlabel="optimizer step")
    axes.set_ylabel("squared error" if squared else "log loss, nats")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize="small")
    return figure


def position(models: Mapping[str, Mapping[str, float | None]], votes: Mapping[str, float]) -> Figure:
    """Mean probability of A minus that of B of every model, in each order and averaged; the band: the votes."""
    figure, axes = panel(1.15 + 0.26 * len(models))
    positions = rows_of(axes, [shortened(name) for name in models])
    low, high = (votes["lead"] + sign * 1.96 * votes["standard_error"] for sign in (-1, 1))
    axes.axvspan(low, high, color=CLASS_COLOURS[2], alpha=0.25, linewidth=0, label="votes, 95 %")
    axes.axvline(0, color=MUTED, linewidth=1)
    for key, marker, colour, label in (
        ("plain", ">", CLASS_COLOURS[0], "plain order"),
        ("swapped", "<", CLASS_COLOURS[1], "swapped order"),
        ("mean", "o", INK, "as used"),
    ):
        shown = [
            (value, place)
            for place, row in zip(positions, models.values(), strict=True)
            if (value := row[key]) is not None
        ]
        if shown:
            leads, places = zip(*shown, strict=True)
            axes.scatter(leads, places, marker=marker, s=30, color=colour, label=label, zorder=3)
    axes.set_xlabel("mean of P(A wins) − P(B wins)")
    axes.locator_params(axis="x", nbins=5)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    return figure


def verbosity(table: pd.DataFrame) -> Figure:
    """Win rate of the longer response by length ratio: votes with their interval, and what the stack expects."""
    figure, axes = panel(2.7)
    places = np.arange(len(table))
    axes.axhline(0.5, color=MUTED, linewidth=1)
    axes.errorbar(
        places,
        table["votes"],
        yerr=1.96 * table["standard_error"],
        color=INK,
        marker="o",
        markersize=4,
        capsize=2,
        linewidth=1.3,
        label="votes, 95 %",
    )
    axes.plot(places, table["predicted"], color=ACCENT, marker="s", markersize=3.5, linestyle="--", label="stack")
    ratios = zip(table["ratio_from"], table["ratio_to"], strict=True)
    axes.set_xticks(places, [f"{_ratio(low)}–{_ratio(high)}" for low, high in ratios], rotation=40, ha="right")
    axes.tick_params(axis="x", labelsize="small")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(xlabel="length of the longer ÷ that of the shorter")
    axes.set_ylabel("longer wins, ties half")
    axes.legend(loc="lower right")
    return figure


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 1.995 else f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def learning(models: Mapping[str, Sequence[Point]], prior: float) -> Figure:
    """Log loss by the number of battles learnt from, one line a model.

    Bars: 95 % of the difference to all battles, which is known better than the losses themselves.
    """
    figure, axes = panel(2.5)
    for number, (model, points) in enumerate(models.items()):
        axes.errorbar(
            [point.battles for point in points],
            [point.log_loss for point in points],
            yerr=[1.96 * point.change_error for point in points],
            color=CLASS_COLOURS[number % len(CLASS_COLOURS)],
            marker="o",
            markersize=4,
            capsize=2,
            linewidth=1.3,
            label=clean(model)[:_LEGEND],
        )
    axes.axhline(prior, color=INK, linewidth=0.8, linestyle="--", label="vote frequencies")
    axes.set_xscale("log")
    axes.minorticks_off()
    battles = sorted({point.battles for points in models.values() for point in points})
    axes.set_xticks(battles, [f"{count:,}" for count in battles])
    axes.set(xlabel="battles learnt from")
    axes.set_ylabel("log loss, nats")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=1, fontsize="small")
    return figure
