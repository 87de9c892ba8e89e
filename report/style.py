"""The look of every figure, and saving one as SVG. Names from the user's files are drawn as they are, never as TeX.

A figure is as wide as a telephone's screen, so that its text keeps one size wherever the page is read; wider windows
show several side by side. In a dark window its colours change by a style sheet of its own.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from battles.files import write_text

CLASS_NAMES = ("A wins", "B wins", "tie")
CLASS_COLOURS = ("#2f6db3", "#d2691e", "#5b8c5a")
INK, MUTED, GRID, ACCENT, WARNING = "#22303c", "#8a97a3", "#e3e8ec", "#2f6db3", "#b3412f"
# What each colour is in a dark window.
DARK = {
    INK: "#dfe6ec",
    MUTED: "#8f9ca8",
    GRID: "#36424d",
    ACCENT: "#6fa8e6",
    WARNING: "#e5836f",
    "#d2691e": "#f09a5a",
    "#5b8c5a": "#8cc08a",
}
WIDTH = 3.55  # inches, 341 px: a telephone's window of 390 px without its margins
NAME_LENGTH = 26

_RC: dict[Any, Any] = {
    "text.parse_math": False,  # a model's name may hold dollar signs
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
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
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    write_text(path, buffer.getvalue().replace("<defs>", f"<style>{_dark()}</style>\n<defs>", 1))


def _dark() -> str:
    """Rules that exchange the colours in a dark window; matplotlib writes them into the elements' own styles."""
    rules = [
        f'[style*="{what}: {light}"]{{{what}:{dark}!important}}'
        for light, dark in DARK.items()
        for what in ("fill", "stroke")
    ]
    return "@media screen and (prefers-color-scheme: dark){" + "".join(rules) + "}"


def clean(text: str) -> str:
    """One line of printable text: what control characters, lone surrogates and line breaks must not do to a page."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


def shortened(name: str) -> str:
    """A name as a label: clean, and of at most 26 characters."""
    text = clean(name)
    return text if len(text) <= NAME_LENGTH else text[: NAME_LENGTH - 1] + "…"


def panel(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    """A figure with one pair of axes, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def rows_of(axes: Axes, labels: list[str]) -> list[int]:
    """Prepares axes for one row per label, the first on top, without horizontal grid lines; gives the positions."""
    positions = list(range(len(labels)))
    axes.set_yticks(positions, labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    return positions
