"""The look of every figure, and saving one as SVG. Names from the user's files are drawn as they are, never as TeX."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from battles.files import atomic

CLASS_NAMES = ("A wins", "B wins", "tie")
CLASS_COLOURS = ("#2f6db3", "#d2691e", "#5b8c5a")
INK, MUTED, GRID, ACCENT, WARNING = "#22303c", "#8a97a3", "#e3e8ec", "#2f6db3", "#b3412f"
WIDTH = 7.6  # inches: the page shows a figure at most this wide, so text keeps one size
NAME_LENGTH = 36

_RC: dict[Any, Any] = {
    "text.parse_math": False,  # a model's name may hold dollar signs
    "svg.fonttype": "none",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw and save inside of this: matplotlib reads some settings only when it renders."""
    with mpl.rc_context(_RC), warnings.catch_warnings():
        # A name may be in a script that matplotlib's own font lacks: the SVG holds text, the browser's fonts draw it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as SVG, atomically; the same figure gives the same bytes."""
    with mpl.rc_context({"svg.hashsalt": path.stem}), atomic(path) as temporary:
        figure.savefig(temporary, format="svg", bbox_inches="tight", pad_inches=0.05, metadata={"Date": None})


def clean(text: str) -> str:
    """One line of printable text: what control characters, lone surrogates and line breaks must not do to a page."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


def shortened(name: str) -> str:
    """A name as a label: clean, and of at most 36 characters."""
    text = clean(name)
    return text if len(text) <= NAME_LENGTH else text[: NAME_LENGTH - 1] + "…"


def panels(count: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with `count` axes in rows of at most `columns`, each `width` x `height` inches."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, number + 1) for number in range(count)]
    return figure, axes


def rows_of(axes: Axes, labels: list[str]) -> list[int]:
    """Prepares axes for one row per label, the first on top, without horizontal grid lines; gives the positions."""
    positions = list(range(len(labels)))
    axes.set_yticks(positions, labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    return positions
