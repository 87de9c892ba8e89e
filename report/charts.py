"""Charts that several sections share: bars, dots with intervals, a histogram; and what every chart is made of.

Texts of a run stand in a chart's data and in the domains of its scales, never in an expression.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from report.style import ACCENT, CONFIG, INK, MUTED, WIDTH, labels, shortened

ROW = 22  # pixels of a chart that has one row a name
_DIMMED = 0.12
_LONGEST = 120  # characters of a name in a tooltip
# Labels at the ends of bars need room beyond the longest one.
_ROOM = 1.25

# Dragging moves; the wheel alone scrolls the page, and zooms with Ctrl (a touchpad's pinch is that). Fingers scroll.
_DRAG = "[pointerdown[event.pointerType === 'mouse'], window:pointerup] > window:pointermove!"
_WHEEL = "wheel![event.ctrlKey]"

Record = Mapping[str, Any]


def chart(layers: Sequence[alt.Chart], records: Sequence[Record], height: int) -> alt.LayerChart:
    """Layers over the same records, each drawn upon the earlier ones; as wide as every figure, `height` inside."""
    fitted = alt.AutoSizeParams(type="fit-x", contains="padding")
    data = alt.InlineData(values=list(records))
    return alt.LayerChart(layer=list(layers), data=data, width=WIDTH, height=height, autosize=fitted, config=CONFIG)


def zoomed() -> alt.Parameter:
    """What makes a chart's axes move by dragging and zoom by Ctrl and the wheel; a double click takes it back."""
    return alt.selection_interval(name="zoom", bind="scales", translate=_DRAG, zoom=_WHEEL)


def singled(field: str) -> tuple[alt.Parameter, Mapping[str, Any]]:
    """What a click on an entry of the legend singles out, and the opacity of the marks that depends on it.

    It belongs to a chart's first coloured layer: merged legends listen to what their first one listens to.
    """
    chosen = alt.selection_point(name="single", fields=[field], bind="legend")
    return chosen, alt.when(chosen).then(alt.value(1)).otherwise(alt.value(_DIMMED))


def line_at(place: float, across: bool = False, dashed: bool = True) -> alt.Chart:
    """A line through the whole chart: upright, or across it."""
    drawn = alt.Chart(alt.InlineData(values=[{"place": place}]))
    drawn = drawn.mark_rule(color=INK if dashed else MUTED, strokeDash=[4, 3] if dashed else [1, 0])
    return drawn.encode(y="place:Q") if across else drawn.encode(x="place:Q")


def ticks(values: Sequence[float], **given: Any) -> alt.Axis:
    """An axis with ticks at these values, all of them."""
    return alt.Axis(values=list(values), tickCount=len(values), **given)


def names_axis(shown: Sequence[str]) -> alt.Y:
    """One row a label, the first on top."""
    axis = alt.Axis(domain=False, grid=False, ticks=False, title=None)
    return alt.Y("label:N", scale=alt.Scale(domain=list(shown)), axis=axis)


def bars(names: Sequence[str], values: Sequence[float], texts: Sequence[str], what: str) -> alt.LayerChart:
    """Horizontal bars from zero, each with its text at the end."""
    shown = labels(names)
    records = [
        {"label": label, "name": name, "value": value, "text": text}
        for label, name, value, text in zip(shown, map(whole, names), values, texts, strict=True)
    ]
    scale = alt.Scale(domain=[min([0.0, *values]), _ROOM * max([0.0, *values]) or 1.0])
    x = alt.X("value:Q", title=what, scale=scale)
    told = [alt.Tooltip("name:N", title=" "), alt.Tooltip("text:N", title=what)]
    base = alt.Chart().encode(y=names_axis(shown), tooltip=told)
    layers = [
        base.mark_bar(color=ACCENT, height={"band": 0.7}).encode(x=x),
        base.mark_text(align="left", dx=4).encode(x=x, text="text:N"),
    ]
    return chart(layers, records, ROW * len(names))


def dots(
    names: Sequence[str],
    values: Sequence[float],
    intervals: Sequence[Sequence[float]],
    what: str,
    reference: float | None = None,
    colours: Sequence[str] | None = None,
    form: str = ".4f",
) -> alt.LayerChart:
    """Dots with their intervals (low, high), beside a line at the reference; `form` is that of the figures (d3)."""
    shown = labels(names)
    painted = colours or [ACCENT] * len(names)
    records = [
        {"label": label, "name": name, "value": value, "low": low, "high": high, "colour": colour}
        for label, name, value, (low, high), colour in zip(
            shown, map(whole, names), values, intervals, painted, strict=True
        )
    ]
    axis = alt.Axis(format="%") if "%" in form else alt.Axis()
    scale = alt.Scale(zero=False)
    told = [alt.Tooltip("name:N", title=" "), alt.Tooltip("value:Q", title=what.partition(":")[0], format=form)]
    told += [alt.Tooltip("low:Q", title="from", format=form), alt.Tooltip("high:Q", title="to", format=form)]
    base = alt.Chart().encode(y=names_axis(shown), tooltip=told)
    layers = [
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=what, scale=scale, axis=axis), x2="high:Q"),
        base.mark_circle(size=55, opacity=1).encode(
            x=alt.X("value:Q", scale=scale), color=alt.Color("colour:N", scale=None)
        ),
    ]
    if reference is not None:
        layers.insert(0, line_at(reference))
    return chart(layers, records, ROW * len(names))


def histogram(edges: Sequence[float], counts: Sequence[int], what: str, counted: str) -> alt.LayerChart:
    """Counts, of what `counted` names, between edges; on a logarithmic axis, the edges being logarithms to base 10."""
    records = [
        {"low": low, "high": high, "count": count, "from": 10**low, "to": 10**high}
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    powers = list(range(int(edges[-1]) + 1))
    axis = ticks(powers, labelExpr="format(pow(10, datum.value), ',')", grid=False)
    told = [alt.Tooltip("from:Q", format=",.0f"), alt.Tooltip("to:Q", format=",.0f")]
    told.append(alt.Tooltip("count:Q", title=counted, format=","))
    drawn = alt.Chart().mark_rect(color=ACCENT)
    drawn = drawn.encode(
        x=alt.X("low:Q", title=what, axis=axis, scale=alt.Scale(nice=False, zero=False)),
        x2="high:Q",
        y=alt.Y("count:Q", title=counted),
        y2=alt.datum(0),
        tooltip=told,
    )
    return chart([drawn], records, 150)


def whole(name: str) -> str:
    """A name as a tooltip shows it: cut only where it is absurdly long."""
    return shortened(name, _LONGEST)
