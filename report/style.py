"""The look of every figure: colours in both schemes, sizes, and how a name from the user's files becomes a label.

A figure is as wide as a telephone's screen, so that its text keeps one size wherever the page is read; wider windows
show several side by side. In a dark window its colours change by a style sheet.
"""

from collections.abc import Sequence
from typing import Any

CLASS_NAMES = ("A wins", "B wins", "tie")
CLASS_COLOURS = ("#2f6db3", "#d2691e", "#5b8c5a")
INK, MUTED, GRID, ACCENT, WARNING = "#22303c", "#8a97a3", "#e3e8ec", "#2f6db3", "#b3412f"
# One colour a line, where there are more than three.
LINES = (*CLASS_COLOURS, "#a0529b", "#b8860b", "#2a9d9d", "#c0504d", "#7a6a58", "#6a5acd", "#708238")
# What each colour is in a dark window; those that are missing are bright enough for both.
DARK = {
    INK: "#dfe6ec",
    MUTED: "#8f9ca8",
    GRID: "#36424d",
    ACCENT: "#6fa8e6",
    WARNING: "#e5836f",
    "#d2691e": "#f09a5a",
    "#5b8c5a": "#8cc08a",
    "#a0529b": "#cf8bcb",
    "#b8860b": "#d9b04a",
    "#2a9d9d": "#5cc7c7",
    "#c0504d": "#e58a87",
    "#7a6a58": "#b3a28e",
    "#6a5acd": "#a296ee",
    "#708238": "#a9bf68",
}
WIDTH = 341  # pixels: a telephone's window of 390 without its margins
NAME_LENGTH = 26
# Arial and Liberation Sans are equally wide: the program that lays a figure out and the browser agree on its text.
_FONT = "Arial, Liberation Sans, Helvetica, sans-serif"
_SMALL, _SIZE = 11, 12

CONFIG: dict[str, Any] = {
    "aria": False,  # the figure as a whole has an alternative text
    "background": "transparent",
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "domainColor": MUTED,
        "gridColor": GRID,
        "labelColor": INK,
        "labelFontSize": _SIZE,
        "labelLimit": 175,
        "tickColor": MUTED,
        "tickCount": 4,
        "titleColor": INK,
        "titleFontSize": _SIZE,
        "titleFontWeight": "normal",
        "titlePadding": 6,
    },
    "axisX": {"titleAnchor": "end", "titleAlign": "right"},
    "legend": {
        "columns": 3,
        "labelColor": INK,
        "labelFontSize": _SMALL,
        "labelLimit": 300,
        "offset": 8,
        "orient": "bottom",
        "rowPadding": 3,
        "symbolStrokeWidth": 2,
        "title": None,
    },
    "text": {"color": INK, "fontSize": _SMALL},
    "rule": {"color": MUTED},
}


def dark(scope: str = "") -> str:
    """Rules of a style sheet that exchange the colours in a dark window, of the figures below `scope`."""
    rules = [
        f'{scope}[{what}="{light}"]{{{what}:{colour}}}' for light, colour in DARK.items() for what in ("fill", "stroke")
    ]
    return "@media screen and (prefers-color-scheme: dark){" + "".join(rules) + "}"


def clean(text: str) -> str:
    """One line of printable text: what control characters, lone surrogates and line breaks must not do to a page."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


def shortened(name: str, length: int = NAME_LENGTH) -> str:
    """A name as a label: clean, and of at most so many characters."""
    text = clean(name)
    return text if len(text) <= length else text[: length - 1] + "…"


def labels(names: Sequence[str], length: int = NAME_LENGTH) -> list[str]:
    """A label for each name, no two alike: those that their ends alone tell apart are numbered."""
    given = dict[str, int]()
    told = list[str]()
    for name in names:
        label = shortened(name, length)
        given[label] = given.get(label, 0) + 1
        told.append(label if given[label] == 1 else f"{label} ({given[label]})")
    return told
