"""What a section is made of, and the page that it stands on: `page.html.jinja` turns these parts into markup.

Jinja2 escapes every text; no part holds markup. The page may load nothing and run no script but its own two, should an
escape ever be forgotten: its content security policy names them by their hashes. The figures' charts are data in it.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from report.rendering import runtime
from report.style import clean, dark

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Words:
    """A paragraph; `tone` is `note` for what a reader must not miss, `warning` for what may be wrong."""

    kind: ClassVar[str] = "words"
    text: str
    tone: str = ""


@dataclass(frozen=True)
class Heading:
    """A heading inside of a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Table:
    """A table: first `texts` columns of text, then figures. `strong` are the numbers of rows that stand out."""

    kind: ClassVar[str] = "table"
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1
    strong: Sequence[int] = ()


@dataclass(frozen=True)
class Image:
    """A figure by the name of its file, what it shows for those who cannot see it, the caption above it, and its chart.

    The page shows the file until its script has drawn the chart (Vega-Lite, as JSON), without it, and in print.
    """

    name: str
    what: str
    caption: str
    chart: str


@dataclass(frozen=True)
class Images:
    """Figures side by side where the window is wide enough."""

    kind: ClassVar[str] = "images"
    images: Sequence[Image]


@dataclass(frozen=True)
class Details:
    """Something long that opens on a click."""

    kind: ClassVar[str] = "details"
    summary: str
    parts: "Sequence[Part]"


@dataclass(frozen=True)
class Card:
    """A main figure of the run: its name, its value, and a word on it."""

    name: str
    value: str
    beside: str = ""


@dataclass(frozen=True)
class Cards:
    """The run's main figures."""

    kind: ClassVar[str] = "cards"
    cards: Sequence[Card]


@dataclass(frozen=True)
class Terms:
    """A glossary: (word, what it means) each."""

    kind: ClassVar[str] = "terms"
    terms: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Browser:
    """Battles to look at one by one (`report.browser`), and the choices that their filters offer."""

    kind: ClassVar[str] = "browser"
    battles: Sequence[Mapping[str, Any]]
    filters: Mapping[str, Sequence[str]]
    with_texts: bool


Part = Words | Heading | Table | Images | Details | Cards | Terms | Browser


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor, its title, and what it shows."""

    anchor: str
    title: str
    parts: Sequence[Part] = field(default_factory=tuple)


def page(title: str, top: Sequence[Part], sections: Sequence[Section], foot: str, figures: Path) -> str:
    """The whole document; `figures` is the folder that the images' files lie in."""
    scripts = [runtime(), (_FOLDER / "page.js").read_text(encoding="utf-8")]
    return (
        _environment(figures)
        .get_template("page.html.jinja")
        .render(
            title=title,
            top=top,
            sections=sections,
            foot=foot,
            css=Markup((_FOLDER / "page.css").read_text(encoding="utf-8") + dark(".chart ")),
            scripts=[Markup(script) for script in scripts],
            hashes=[base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii") for script in scripts],
        )
    )


def _environment(figures: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clean"] = lambda text: clean(str(text))
    environment.filters["data"] = _as_data
    environment.filters["svg"] = lambda name: _as_url(figures / f"{name}.svg")
    return environment


def _as_url(path: Path) -> str:
    """An SVG file as the source of an image: so it can neither run scripts nor clash with the ids of another."""
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _as_data(text: str) -> Markup:
    """JSON as the content of a script element that holds data: without what could end it."""
    return Markup(text.replace("<", "\\u003c"))
