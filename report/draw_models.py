"""Figures of the predictions: losses, calibration, training curves, position, confusion."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from report.style import (
    ACCENT,
    CLASS_COLOURS,
    CLASS_NAMES,
    INK,
    MUTED,
    WARNING,
    WIDTH,
    panels,
    rows_of,
    shortened,
)

Scores = Mapping[str, Mapping[str, float | None]]
_POINTS = 300  # of a curve: more than a screen shows
_SMOOTHED_SHARE = 0.08
_MARGIN = 0.04


def losses(scores: Scores, prior: float, stack: str) -> Figure:
    """Log loss of every model as a bar from the prior's, with its own standard error."""
    names = sorted(scores, key=lambda name: scores[name]["log_loss"] or 0.0)
    values = np.array([scores[name]["log_loss"] for name in names], dtype=np.float64)
    errors = np.array([scores[name]["log_loss_standard_error"] or 0.0 for name in names])
    figure, (axes,) = panels(1, 1, WIDTH, 0.6 + 0.27 * len(names))
    positions = rows_of(axes, [shortened(name) for name in names])
    colours = [
        INK if name == stack else ACCENT if v <= prior else WARNING for name, v in zip(names, values, strict=True)
    ]
    axes.barh(positions, values - prior, left=prior, height=0.62, color=colours)
    axes.errorbar(values, positions, xerr=errors, fmt="none", ecolor=MUTED, elinewidth=1.4, capsize=3)
    axes.axvline(prior, color=INK, linewidth=1)
    for position, value in zip(positions, values, strict=True):
        axes.annotate(
            f"{value:.4f}", (1.01, position), xycoords=("axes fraction", "data"), va="center", annotation_clip=False
        )
    axes.set_xlabel("log loss (bars start at the prior's; left is better)")
    return figure


def reliability(tables: Mapping[str, pd.DataFrame], ece: Mapping[str, float]) -> Figure:
    """Observed share against predicted probability, per class, one panel a model."""
    figure, every = panels(len(tables), 3, WIDTH / 3, WIDTH / 3)
    for axes, (name, table) in zip(every, tables.items(), strict=True):
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
        axes.set_title(f"{shortened(name)}  (ECE {ece[name]:.3f})")
    figure.supxlabel("predicted probability", fontsize="medium")
    figure.supylabel("share that came true", fontsize="medium")
    figure.legend(*every[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def smoothed(losses: pd.Series) -> pd.Series:
    """The mean over the last 8 % of all steps (at the start: over what there is), in the steps' order."""
    return losses.rolling(max(1, round(len(losses) * _SMOOTHED_SHARE)), min_periods=1).mean()


def curves(bases: Mapping[str, Mapping[int, pd.DataFrame]], prior: float) -> Figure:
    """Training loss, smoothed, and log loss on the held-out fold, one panel a base, one line a fold."""
    figure, every = panels(len(bases), 2, WIDTH / min(len(bases), 2), 2.7)
    for axes, (name, folds) in zip(every, bases.items(), strict=True):
        seen: list[float] = [prior]
        for fold, curve in folds.items():
            colour = f"C{fold % 10}"
            line = smoothed(curve["loss"])
            kept = np.unique(np.linspace(0, len(curve) - 1, _POINTS).round().astype(np.int64))
            axes.plot(
                curve["step"].iloc[kept], line.iloc[kept], color=colour, linewidth=1.1, alpha=0.75, label=f"fold {fold}"
            )
            checked = curve.dropna(subset="valid_log_loss")
            axes.plot(
                checked["step"],
                checked["valid_log_loss"],
                color=colour,
                marker="o",
                markersize=5.5,
                linestyle="none",
                markeredgecolor=INK,
                markeredgewidth=0.7,
                zorder=3,
            )
            # The first steps of a fresh head can be so high that they would flatten everything after them.
            seen += [*line.iloc[len(line) // 20 :], *checked["valid_log_loss"]]
        axes.axhline(prior, color=INK, linewidth=0.8, linestyle="--")
        low, high = min(seen), max(seen)
        room = _MARGIN * max(high - low, 0.01)
        axes.set(ylim=(low - room, high + room), xlabel="optimizer step")
        axes.set_title(shortened(name))
    # One legend for all panels: a fold has one colour in all of them, and not every base has run every fold.
    lines = {label: line for axes in every for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    labels = sorted(lines, key=lambda label: int(label.removeprefix("fold ")))
    figure.legend([lines[label] for label in labels], labels, loc="outside upper center", ncols=10, fontsize="small")
    figure.supylabel("log loss", fontsize="medium")
    return figure


def position(models: Mapping[str, Mapping[str, float | None]], votes: Mapping[str, float]) -> Figure:
    """Mean probability of A minus that of B of every model, in each order and averaged; the band: the votes."""
    figure, (axes,) = panels(1, 1, WIDTH, 1.1 + 0.3 * len(models))
    positions = rows_of(axes, [shortened(name) for name in models])
    low, high = (votes["lead"] + sign * votes["standard_error"] for sign in (-1, 1))
    axes.axvspan(low, high, color=CLASS_COLOURS[2], alpha=0.2, linewidth=0, label="votes ± standard error")
    axes.axvline(0, color=MUTED, linewidth=1)
    for key, marker, colour, label in (
        ("plain", ">", CLASS_COLOURS[0], "plain order"),
        ("swapped", "<", CLASS_COLOURS[1], "swapped order, mapped back"),
        ("mean", "o", INK, "as used (mean)"),
    ):
        shown = [
            (value, place)
            for place, row in zip(positions, models.values(), strict=True)
            if (value := row[key]) is not None
        ]
        if shown:
            leads, places = zip(*shown, strict=True)
            axes.scatter(leads, places, marker=marker, s=34, color=colour, label=label, zorder=3)
    axes.set_xlabel("mean of P(A wins) − P(B wins)")
    figure.legend(loc="outside upper center", ncols=4, fontsize="small")
    return figure


def confusion(counts: np.ndarray) -> Figure:
    """Votes by predicted class, as many classes as `counts` has: battles, and their share of the row's votes."""
    names = CLASS_NAMES[: len(counts)]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, (axes,) = panels(1, 1, WIDTH * 0.55, WIDTH * 0.42)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (vote, predicted), count in np.ndenumerate(counts):
        share = shares[vote, predicted]
        axes.text(
            predicted, vote, f"{count:,}\n{share:.0%}", ha="center", va="center", color="white" if share > 0.55 else INK
        )
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="voted")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure
