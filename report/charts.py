"""Charts that several sections share: bars, and dots with intervals, one row a name."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from report.style import ACCENT, INK, MUTED, WIDTH, panel, rows_of, shortened

_ROW, _FRAME = 0.235, 0.62  # inches


def bars(names: Sequence[str], values: Sequence[float], labels: Sequence[str], what: str) -> Figure:
    """Horizontal bars from zero, each with its label at the end."""
    figure, axes = panel(_FRAME + _ROW * len(names))
    positions = rows_of(axes, [shortened(name) for name in names])
    drawn = axes.barh(positions, values, height=0.68, color=ACCENT)
    axes.bar_label(drawn, labels=list(labels), padding=3, fontsize="small")
    axes.margins(x=0.2)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.set_xlabel(what, loc="right")
    return figure


def dots(
    names: Sequence[str],
    values: Sequence[float],
    intervals: Sequence[Sequence[float]],
    what: str,
    reference: float | None = None,
    colours: Sequence[str] | None = None,
    percent: bool = False,
) -> Figure:
    """Dots with their intervals (low, high), beside a line at the reference."""
    figure, axes = panel(_FRAME + _ROW * len(names))
    positions = rows_of(axes, [shortened(name) for name in names])
    if reference is not None:
        axes.axvline(reference, color=INK, linewidth=0.9, linestyle="--")
    at = np.asarray(values, dtype=np.float64)
    ends = np.asarray(intervals, dtype=np.float64).reshape(-1, 2)
    axes.hlines(positions, ends[:, 0], ends[:, 1], colors=MUTED, linewidth=1.6)
    axes.scatter(at, positions, color=list(colours) if colours else ACCENT, s=24, zorder=3)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    if percent:
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel(what, loc="right")
    return figure


def histogram(
    edges: Sequence[float], counts: Sequence[int], ticks: Sequence[tuple[float, str]], what: str, counted: str
) -> Figure:
    """Counts, of what `counted` names, between edges, on an axis with ticks (place, label)."""
    figure, axes = panel(2.0, WIDTH)
    axes.stairs(counts, edges, fill=True, color=ACCENT)
    axes.set_xticks([place for place, _ in ticks], [label for _, label in ticks])
    axes.set_xlabel(what, loc="right")
    axes.set_ylabel(counted)
    return figure
