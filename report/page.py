"""A page of HTML in one file. Every text that goes in is escaped here, and nowhere else."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from report.style import clean


@dataclass(frozen=True)
class Html:
    """Markup that is ready for the page; anything else is text and gets escaped."""

    markup: str


def text(value: str) -> str:
    """Text as HTML, also safe inside of an attribute."""
    return escape(clean(value), quote=True)


def paragraph(value: str, kind: str = "") -> Html:
    """A paragraph; `kind` is its CSS class."""
    return Html(f'<p class="{text(kind)}">{text(value)}</p>' if kind else f"<p>{text(value)}</p>")


def heading(value: str) -> Html:
    """A heading inside of a section."""
    return Html(f"<h3>{text(value)}</h3>")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1, strong: Sequence[str] = ()) -> Html:
    """A table: first `texts` columns of text, then figures. Rows that start with one of `strong` stand out."""

    def line(tag: str, cells: Sequence[str]) -> str:
        kinds = ("" if number < texts else ' class="figure"' for number in range(len(cells)))
        return "".join(f"<{tag}{kind}>{text(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))

    body = "\n".join(f"<tr{' class=strong' if row[0] in strong else ''}>{line('td', row)}</tr>" for row in rows)
    return Html(
        f'<div class="scroll"><table><thead><tr>{line("th", head)}</tr></thead>\n<tbody>{body}</tbody></table></div>'
    )


def image(path: Path, what: str) -> Html:
    """An SVG file inside the page. As an image, it can neither run scripts nor clash with the ids of another."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return Html(f'<figure><img alt="{text(what)}" src="data:image/svg+xml;base64,{data}"></figure>')


def details(summary: str, inside: Html) -> Html:
    """Something long that opens on a click."""
    return Html(f"<details><summary>{text(summary)}</summary>{inside.markup}</details>")


def beside(*parts: Html) -> Html:
    """Parts side by side where the window is wide enough."""
    return Html('<div class="beside">' + "".join(f"<div>{part.markup}</div>" for part in parts) + "</div>")


def cards(figures: Sequence[tuple[str, str]]) -> Html:
    """The run's main figures: (name, value) each."""
    items = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in figures)
    return Html(f'<dl class="cards">{items}</dl>')


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor, its title, one paragraph on what to look for, and what it shows."""

    anchor: str
    title: str
    lead: str
    parts: Sequence[Html]

    def markup(self) -> str:
        """The section as HTML."""
        inside = "\n".join(part.markup for part in self.parts)
        title = f"<h2>{text(self.title)}</h2>\n<p>{text(self.lead)}</p>"
        return f'<section id="{text(self.anchor)}">{title}\n{inside}</section>'


def page(title: str, top: Sequence[Html], sections: Sequence[Section], foot: str) -> str:
    """The whole document. It may load nothing and run no script, should an escape ever be forgotten."""
    links = "".join(f'<a href="#{text(part.anchor)}">{text(part.title)}</a>' for part in sections)
    body = "\n".join(part.markup() for part in sections)
    head = "\n".join(part.markup for part in top)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{text(title)}</title>
<style>{_CSS}</style>
</head>
<body>
<header><h1>{text(title)}</h1>
{head}
<nav>{links}</nav></header>
<main>
{body}
</main>
<footer>{text(foot)}</footer>
</body>
</html>
"""


_CSS = """
:root { color-scheme: light; --ink: #22303c; --muted: #65727e; --line: #e3e8ec; --accent: #2f6db3; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 2rem 1.5rem 4rem; color: var(--ink); background: #fff;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.25rem; margin: 0 0 .4rem; }
p { margin: 0 0 .9rem; max-width: 48rem; }
section { border-top: 1px solid var(--line); padding: 1.6rem 0 1rem; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin: 1.2rem 0 1.6rem; font-size: .92rem; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 0 0 1rem; }
.cards div { border: 1px solid var(--line); border-radius: .5rem; padding: .55rem .9rem; min-width: 8rem; }
dt { color: var(--muted); font-size: .82rem; } dd { margin: 0; font-size: 1.2rem; font-weight: 600; }
.note { background: #fff6e5; border-left: 4px solid #e0a030; padding: .6rem .9rem; }
.scroll { overflow-x: auto; margin: 0 0 1.1rem; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .28rem .8rem .28rem 0; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
th { color: var(--muted); font-weight: 600; border-bottom-width: 2px; }
.figure { text-align: right; padding-left: .8rem; font-variant-numeric: tabular-nums; }
tr.strong td { font-weight: 700; background: #f3f7fb; }
figure { margin: 0 0 1.1rem; } img { max-width: 100%; height: auto; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 0 1.5rem; }
.beside > div { min-width: 0; }
h3 { font-size: 1rem; margin: .3rem 0 .3rem; }
details { margin: 0 0 1.1rem; } summary { cursor: pointer; color: var(--accent); }
details[open] summary { margin-bottom: .6rem; }
footer { border-top: 1px solid var(--line); padding-top: 1rem; color: var(--muted); font-size: .85rem; }
@media print { nav { display: none; } section { break-inside: avoid; } }
"""
