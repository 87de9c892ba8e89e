"""Figures of the predictions: losses, calibration, training curves, position, length. Each is one panel."""

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from report.charts import ROW, chart, line_at, names_axis, singled, ticks, whole, zoomed
from report.learning import Point
from report.style import ACCENT, CLASS_COLOURS, CLASS_NAMES, INK, LINES, WARNING, labels

_POINTS = 300  # of a curve: more than a screen shows
_TOLD = 5  # each so-manieth of them tells its values
_SMOOTHED_SHARE = 0.08
_MARGIN = 0.04
# Characters of a name beside which a legend of one column has room for nothing else.
_LEGEND = 45


def colours(names: Sequence[str], losses: Sequence[float], prior: float, stack: str) -> list[str]:
    """One colour a model: the stack's, that of models better than the prior, that of worse ones."""
    return [
        INK if name == stack else ACCENT if loss <= prior else WARNING for name, loss in zip(names, losses, strict=True)
    ]


def reliability(table: pd.DataFrame) -> alt.LayerChart:
    """Observed share against predicted probability, per class."""
    records = [
        {
            "outcome": CLASS_NAMES[row["class"]],
            "predicted": row["predicted"],
            "observed": row["observed"],
            "low": row["observed"] - row["standard_error"],
            "high": row["observed"] + row["standard_error"],
        }
        for row in table.to_dict("records")
    ]
    chosen, opacity = singled("outcome")
    present = [name for name in CLASS_NAMES if any(record["outcome"] == name for record in records)]
    painted = dict(zip(CLASS_NAMES, CLASS_COLOURS, strict=True))
    colour = alt.Color("outcome:N", scale=alt.Scale(domain=present, range=[painted[name] for name in present]))
    axis, scale = ticks([0, 0.5, 1]), alt.Scale(domain=[0, 1])
    x = alt.X("predicted:Q", title="predicted probability", axis=axis, scale=scale)
    y = alt.Y("observed:Q", title="share that came true", axis=axis, scale=scale)
    told = [alt.Tooltip("outcome:N")]
    told += [alt.Tooltip(f"{name}:Q", format=".3f") for name in ("predicted", "observed")]
    told += [alt.Tooltip("low:Q", title="− standard error", format=".3f")]
    told += [alt.Tooltip("high:Q", title="+ standard error", format=".3f")]
    base = alt.Chart().encode(x=x, color=colour, opacity=opacity)
    ideal = alt.Chart(alt.InlineData(values=[{"place": 0}, {"place": 1}]))
    layers = [
        ideal.mark_line(clip=True, color=INK, strokeDash=[4, 3], strokeWidth=1).encode(x="place:Q", y="place:Q"),
        base.mark_rule(clip=True).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q").add_params(chosen),
        base.mark_line(clip=True, strokeWidth=1.6).encode(y=y),
        base.mark_circle(clip=True, size=45).encode(y=y, tooltip=told).add_params(zoomed()),
    ]
    return chart(layers, records, 260)


def smoothed(losses: pd.Series) -> pd.Series:
    """The mean over the last 8 % of all steps (at the start: over what there is), in the steps' order."""
    return losses.rolling(max(1, round(len(losses) * _SMOOTHED_SHARE)), min_periods=1).mean()


def curves(folds: Mapping[int, pd.DataFrame], squared: bool, prior: float) -> alt.LayerChart:
    """Training loss of one base, smoothed, one line a fold; dots: log loss on held-out battles.

    `squared`: it was trained on squared errors. Their scale is not that of the dots and the prior, which are left out.
    """
    seen: list[float] = [] if squared else [prior]
    records: list[dict[str, object]] = []
    for fold, curve in folds.items():
        line = smoothed(curve["loss"])
        kept = np.unique(np.linspace(0, len(curve) - 1, _POINTS).round().astype(np.int64))
        steps, losses = curve["step"].to_numpy()[kept].tolist(), line.to_numpy()[kept].round(6).tolist()
        records += [
            {"fold": f"fold {fold}", "step": step, "loss": loss, **({} if at % _TOLD else {"told": True})}
            for at, (step, loss) in enumerate(zip(steps, losses, strict=True))
        ]
        # The first steps of a fresh head can be so high that they would flatten everything after them.
        seen += [*line.iloc[len(line) // 20 :]]
        checked = curve.dropna(subset="valid_log_loss")
        if not squared and len(checked):
            dots = zip(checked["step"].tolist(), checked["valid_log_loss"].tolist(), strict=True)
            records += [{"fold": f"fold {fold}", "step": step, "held_out": loss} for step, loss in dots]
            seen += [*checked["valid_log_loss"]]
    low, high = min(seen), max(seen)
    room = _MARGIN * max(high - low, 0.01)
    what = "squared error" if squared else "log loss, nats"
    scale = alt.Scale(domain=[low - room, high + room], nice=False, zero=False)
    chosen, opacity = singled("fold")
    names = [f"fold {fold}" for fold in folds]
    colour = alt.Color(
        "fold:N",
        scale=alt.Scale(domain=names, range=[LINES[at % len(LINES)] for at in range(len(names))]),
        legend=alt.Legend(columns=5, symbolType="stroke"),
    )
    x = alt.X("step:Q", title="optimizer step", scale=alt.Scale(nice=False))
    told = [alt.Tooltip("fold:N"), alt.Tooltip("step:Q", format=",")]
    base = alt.Chart().encode(x=x, color=colour, opacity=opacity)
    ends = [*told, alt.Tooltip("loss:Q", title=f"training, {what}", format=".4f")]
    losses_of = base.transform_filter("isValid(datum.loss)").encode(y=alt.Y("loss:Q", title=what, scale=scale))
    layers = [
        losses_of.mark_line(clip=True, strokeWidth=1.3).add_params(chosen),
        # What a hand can point at; a line itself tells of its first step alone.
        losses_of.transform_filter("datum.told")
        .mark_circle(clip=True, size=60)
        .encode(opacity=alt.value(0), tooltip=ends)
        .add_params(zoomed()),
    ]
    if not squared:
        held_out = [*told, alt.Tooltip("held_out:Q", title="held out, log loss", format=".4f")]
        dots_of = base.transform_filter("isValid(datum.held_out)").encode(y=alt.Y("held_out:Q", scale=scale))
        layers.append(dots_of.mark_circle(clip=True, size=60, stroke=INK, strokeWidth=0.8).encode(tooltip=held_out))
        layers.insert(0, line_at(prior, across=True))
    return chart(layers, records, 190)


_ORDERS = (
    ("plain", "triangle-right", CLASS_COLOURS[0], "plain order"),
    ("swapped", "triangle-left", CLASS_COLOURS[1], "swapped order"),
    ("mean", "circle", INK, "as used"),
)


def position(models: Mapping[str, Mapping[str, float | None]], votes: Mapping[str, float]) -> alt.LayerChart:
    """Mean probability of A minus that of B of every model, in each order and averaged; the band: the votes."""
    shown = labels(list(models))
    records = [
        {"label": label, "order": order, "lead": row[key]}
        for label, row in zip(shown, models.values(), strict=True)
        for key, _, _, order in _ORDERS
        if row[key] is not None
    ]
    low, high = (votes["lead"] + sign * 1.96 * votes["standard_error"] for sign in (-1, 1))
    present = [one for one in _ORDERS if any(record["order"] == one[3] for record in records)]
    domain = [order for _, _, _, order in present]
    chosen, opacity = singled("order")
    band = alt.Chart(alt.InlineData(values=[{"low": low, "high": high}])).mark_rect(color=CLASS_COLOURS[2])
    points = alt.Chart().mark_point(filled=True, size=80)
    points = points.encode(
        x=alt.X("lead:Q", title="mean of P(A wins) − P(B wins); band: votes, 95 %"),
        y=names_axis(shown),
        color=alt.Color("order:N", scale=alt.Scale(domain=domain, range=[colour for _, _, colour, _ in present])),
        shape=alt.Shape("order:N", scale=alt.Scale(domain=domain, range=[shape for _, shape, _, _ in present])),
        opacity=opacity,
        tooltip=[
            alt.Tooltip("label:N", title="model"),
            alt.Tooltip("order:N"),
            alt.Tooltip("lead:Q", title="P(A) − P(B)", format="+.4f"),
        ],
    )
    layers = [
        band.encode(x="low:Q", x2="high:Q", opacity=alt.value(0.25)),
        line_at(0.0, dashed=False),
        points.add_params(chosen),
    ]
    return chart(layers, records, ROW * len(models))


def ratings(table: pd.DataFrame) -> alt.LayerChart:
    """Rating at equal style (`styled`) against `rating`, one dot a model; below the dashed line style wins votes."""
    records = [
        {"model": whole(row["model"]), **{name: row[name] for name in ("battles", "rating", "styled")}}
        for row in table.to_dict("records")
    ]
    ends = [float(pick(table[["rating", "styled"]].to_numpy())) for pick in (np.min, np.max)]
    scale = alt.Scale(domain=[ends[0] - 20, ends[1] + 20])
    x = alt.X("rating:Q", title="rating, points", scale=scale)
    y = alt.Y("styled:Q", title="at equal style, points", scale=scale)
    told = [alt.Tooltip("model:N"), alt.Tooltip("battles:Q", format=",")]
    told += [alt.Tooltip("rating:Q", format="+.0f"), alt.Tooltip("styled:Q", title="at equal style", format="+.0f")]
    equal = alt.Chart(alt.InlineData(values=[{"place": end} for end in scale.domain]))
    layers = [
        equal.mark_line(clip=True, color=INK, strokeDash=[4, 3], strokeWidth=1).encode(x="place:Q", y="place:Q"),
        alt.Chart().mark_circle(clip=True, color=ACCENT, size=50).encode(x=x, y=y, tooltip=told).add_params(zoomed()),
    ]
    return chart(layers, records, 260)


def verbosity(table: pd.DataFrame) -> alt.LayerChart:
    """Win rate of the longer response by length ratio: votes with their interval, and what the stack expects."""
    places = [f"{_ratio(low)}–{_ratio(high)}" for low, high in zip(table["ratio_from"], table["ratio_to"], strict=True)]
    voted, expected = "votes, 95 %", "stack"
    records: list[dict[str, object]] = []
    for at, row in enumerate(table.to_dict("records")):
        half = 1.96 * row["standard_error"]
        shared = {"at": at, "ratio": places[at], "battles": row["battles"]}
        records += [
            {**shared, "who": voted, "wins": row["votes"], "low": row["votes"] - half, "high": row["votes"] + half},
            {**shared, "who": expected, "wins": row["predicted"]},
        ]
    domain = alt.Scale(domain=[voted, expected], range=[INK, ACCENT])
    chosen, opacity = singled("who")
    wins = alt.Scale(zero=False)
    told = [alt.Tooltip("ratio:N", title="length ratio"), alt.Tooltip("battles:Q", format=",")]
    told += [alt.Tooltip("who:N", title=" "), alt.Tooltip("wins:Q", title="longer wins", format=".1%")]
    told += [alt.Tooltip("low:Q", title="from", format=".1%"), alt.Tooltip("high:Q", title="to", format=".1%")]
    base = alt.Chart().encode(
        x=alt.X(
            "ratio:O",
            title="length of the longer ÷ that of the shorter",
            axis=alt.Axis(labelAngle=-40),
            scale=alt.Scale(domain=list(dict.fromkeys(places))),
        ),
        color=alt.Color("who:N", scale=domain),
        opacity=opacity,
    )
    y = alt.Y("wins:Q", title="longer wins, ties half", axis=alt.Axis(format="%"), scale=wins)
    layers = [
        line_at(0.5, across=True, dashed=False),
        base.mark_rule(strokeWidth=1.6).encode(y=alt.Y("low:Q", scale=wins), y2="high:Q").add_params(chosen),
        base.transform_filter("isValid(datum.low)").mark_line(strokeWidth=1.6).encode(y=y),
        base.transform_filter("!isValid(datum.low)").mark_line(strokeWidth=1.6, strokeDash=[5, 3]).encode(y=y),
        base.mark_circle(size=55).encode(y=y, tooltip=told),
    ]
    return chart(layers, records, 170)


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 1.995 else f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def learning(models: Mapping[str, Sequence[Point]], prior: float) -> alt.LayerChart:
    """Log loss by the number of battles learnt from, one line a model.

    Bars: 95 % of the difference to all battles, which is known better than the losses themselves.
    """
    shown = labels(list(models), _LEGEND)
    records = [
        {
            "model": label,
            "battles": point.battles,
            "loss": point.log_loss,
            "low": point.log_loss - 1.96 * point.change_error,
            "high": point.log_loss + 1.96 * point.change_error,
            "change": point.change,
        }
        for label, points in zip(shown, models.values(), strict=True)
        for point in points
    ]
    chosen, opacity = singled("model")
    scale = alt.Scale(zero=False)
    told = [alt.Tooltip("model:N"), alt.Tooltip("battles:Q", title="battles learnt from", format=",")]
    told += [alt.Tooltip("loss:Q", title="log loss, nats", format=".4f")]
    told += [alt.Tooltip("change:Q", title="worse than with all", format="+.4f")]
    base = alt.Chart().encode(
        x=alt.X(
            "battles:Q",
            title="battles learnt from",
            axis=ticks(sorted({point.battles for points in models.values() for point in points}), format=","),
            scale=alt.Scale(type="log", nice=False, padding=12),
        ),
        color=alt.Color(
            "model:N",
            scale=alt.Scale(domain=shown, range=[LINES[at % len(LINES)] for at in range(len(shown))]),
            legend=alt.Legend(columns=1, symbolType="stroke"),
        ),
        opacity=opacity,
    )
    loss = alt.Y("loss:Q", title="log loss, nats; dashed: vote frequencies", scale=scale)
    layers = [
        line_at(prior, across=True),
        base.mark_rule(strokeWidth=1.6).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q").add_params(chosen),
        base.mark_line(strokeWidth=1.6).encode(y=loss),
        base.mark_circle(size=55).encode(y=loss, tooltip=told),
    ]
    return chart(layers, records, 190)
