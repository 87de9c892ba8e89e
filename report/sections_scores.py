"""The section on how good the models are: the table of scores, the stacker's candidates, published figures."""

from typing import Any

from oof.table import STACK
from report import charts, draw_models
from report.figures_as_text import DASH, VOTES, between, duration, number, percent
from report.findings import Findings
from report.gallery import MOST_PANELS, Gallery
from report.inputs import PRIOR, Inputs
from report.page import Details, Images, Part, Section, Table, Words
from report.published import EQUAL_LOG_LOSS, FIGURES, STYLE_AUC
from report.scores import twins


def scores(inputs: Inputs, findings: Findings, gallery: Gallery) -> Section:
    """The score table with intervals, the stacker's candidates, and published figures beside them."""
    prior = inputs.scores["candidates"][PRIOR]
    names = [STACK, *findings.bases]
    losses = [*(findings.models[name]["log_loss"] for name in names), prior["log_loss"]]
    ends = [findings.models[name]["log_loss_interval"] for name in names] + [_interval(prior)]
    shown = [*names, PRIOR]
    order = sorted(range(len(shown)), key=lambda at: losses[at])[: 2 * MOST_PANELS]
    image = gallery.add(
        "losses",
        charts.dots(
            [shown[at] for at in order],
            [losses[at] for at in order],
            [ends[at] for at in order],
            "log loss, nats: 95 % interval; left is better",
            prior["log_loss"],
            draw_models.colours([shown[at] for at in order], [losses[at] for at in order], prior["log_loss"], STACK),
        ),
        "Log loss of the stack, every base and the vote frequencies, with 95 % intervals",
    )
    parts: list[Part] = [
        Words(
            "All figures are of the same battles, predicted out of fold. The interval is of the model's own loss: a "
            "bootstrap over prompts. Models are compared by the difference to the stack, battle by battle: it is known "
            "far better than either loss, and where its interval does not hold 0 it is more than chance. ECE is the "
            "expected calibration error; beside it is what perfectly calibrated probabilities would have by chance, so "
            "the 0 of the vote frequencies, which claim nothing, is no merit."
        ),
        _table(inputs, findings),
        Images([image]),
        Details("The stacker's candidates", [_candidates(inputs), Words(_candidates_words(inputs))]),
        Details("Precision, recall and F1 of each outcome; which outcome is taken for which", _classes(findings)),
        Details("Figures that others published, on other battles", [Words(_others()), _published()]),
    ]
    return Section("scores", "Scores", parts)


def _interval(row: dict[str, Any]) -> tuple[float, float]:
    return (
        row["log_loss"] - 1.96 * row["log_loss_standard_error"],
        row["log_loss"] + 1.96 * row["log_loss_standard_error"],
    )


_HEAD = [
    "model",
    "log loss, nats",
    "95 %",
    "to the stack",
    "95 %",
    "accuracy",
    "macro-F1",
    "ECE",
    "ECE by chance",
    "AUC, decisive",
    "training",
    "prediction",
    "device",
]


def _table(inputs: Inputs, findings: Findings) -> Table:
    rows = []
    for name in sorted(findings.models, key=lambda name: findings.models[name]["log_loss"]):
        figures = findings.models[name]
        times = _times(inputs, name)
        rows.append(
            [
                f"{name} (ships {inputs.scores['shipped']})" if name == STACK else name,
                number(figures["log_loss"]),
                between(figures["log_loss_interval"]),
                DASH if name == STACK else number(figures["difference"], sign=True),
                DASH if name == STACK else between(figures["difference_interval"]),
                percent(figures["accuracy"]),
                *(number(figures[key]) for key in ("macro_f1", "ece", "chance_ece")),
                number(figures["decisive_auc"], 3),
                *times,
            ]
        )
    prior = inputs.scores["candidates"][PRIOR]
    rows.append(
        [
            "vote frequencies (prior)",
            number(prior["log_loss"]),
            between(_interval(prior)),
            number(prior["difference"], sign=True),
            between(_of_difference(prior)),
            percent(prior["accuracy"]),
            *(number(prior[key]) for key in ("macro_f1", "ece", "chance_ece")),
            number(0.5, 3),
            DASH,
            DASH,
            DASH,
        ]
    )
    return Table(_HEAD, rows, strong=[number for number, row in enumerate(rows) if row[0].startswith(f"{STACK} ")])


def _of_difference(row: dict[str, Any]) -> tuple[float, float]:
    half = 1.96 * row["difference_standard_error"]
    return row["difference"] - half, row["difference"] + half


def _times(inputs: Inputs, name: str) -> list[str]:
    about = (inputs.stack if name == STACK else inputs.bases[name]).metadata
    if about.get("train_seconds") is None:
        return [DASH, DASH, DASH]
    predicting = about.get("inference_seconds")
    return [
        duration(about["train_seconds"]),
        DASH if name == STACK else duration(predicting),
        str(about.get("device", DASH)),
    ]


def _candidates(inputs: Inputs) -> Table:
    # The vote frequencies stand in the table above.
    candidates = {name: row for name, row in inputs.scores["candidates"].items() if name not in (STACK, PRIOR)}
    shipped = inputs.scores["shipped"]
    repeated = twins({**inputs.scores["bases"], **candidates}, kept=(shipped,))
    rows = [
        [
            f"{name} (ships)" if name == shipped else name,
            number(row["log_loss"]),
            between(_interval(row)),
            number(row["difference"], sign=True),
            between(_of_difference(row)),
            percent(row["accuracy"]),
            *(number(row[key]) for key in ("macro_f1", "ece", "chance_ece")),
            duration(row["seconds"]),
        ]
        for name, row in sorted(candidates.items(), key=lambda item: item[1]["log_loss"])
        if name not in repeated
    ]
    head = [
        "candidate",
        "log loss, nats",
        "95 %",
        "to the stack",
        "95 %",
        "accuracy",
        "macro-F1",
        "ECE",
        "ECE by chance",
        "all fits",
    ]
    return Table(head, rows, strong=[number for number, row in enumerate(rows) if row[0].endswith(" (ships)")])


def _candidates_words(inputs: Inputs) -> str:
    candidates = {**inputs.scores["bases"], **inputs.scores["candidates"]}
    repeated = twins(candidates, kept=(STACK, inputs.scores["shipped"]))
    words = "Intervals here are ± 1.96 standard errors, battles of one prompt counted as one."
    if repeated:
        pairs = ", ".join(f"{name} is {of}" for name, of in repeated.items())
        words += f" Not shown, as they repeat another model's predictions: {pairs}."
    return words


def _classes(findings: Findings) -> list[Part]:
    rows = [
        [
            name,
            VOTES[winner],
            *(number(figures[key], 3) for key in ("precision", "recall", "f1")),
            f"{figures['votes']:,}",
            f"{figures['predicted']:,}",
        ]
        for name in (STACK, *findings.bases)
        for winner, figures in findings.models[name]["classes"].items()
        if figures["votes"] or figures["predicted"]
    ]
    counts = findings.confusion[STACK]
    titles = list(VOTES.values())[: findings.classes]
    confused = [
        [f"voted: {title}", *(f"{count:,} ({percent(count / max(1, row.sum()), 0)})" for count in row)]
        for title, row in zip(titles, counts, strict=True)
        if row.sum()
    ]
    return [
        Table(["model", "outcome", "precision", "recall", "F1", "votes", "predicted"], rows, texts=2),
        Words(
            "The stack's favourites by vote, with their share of that vote. Ties are hard to call and seldom favoured."
        ),
        Table(["", *(f"favourite: {title}" for title in titles)], confused),
    ]


def _others() -> str:
    return (
        "These are of other battles, so they say what is usual, not who is better. Equal probabilities have "
        f"{number(EQUAL_LOG_LOSS)}. Style alone (length and markdown) reached an AUC of {STYLE_AUC} on 98,000 decisive "
        "battles of a later set of the Arena; compare the column “AUC, decisive”."
    )


def _published() -> Table:
    rows = [
        [one.name, one.battles, number(one.log_loss), one.training or DASH, one.prediction or DASH, one.device or DASH]
        for one in FIGURES
    ]
    return Table(["model", "battles", "log loss, nats", "training", "prediction", "device"], rows, texts=2)
