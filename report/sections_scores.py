"""The sections on how good the models are: summary, scores, calibration, training."""

from typing import Any

from oof.metrics import calibrated_error
from oof.table import STACK
from report import charts, draw_models
from report.figures_as_text import DASH, VOTES, between, duration, number, percent
from report.findings import Findings
from report.gallery import Gallery
from report.inputs import PRIOR, Extras, Inputs
from report.page import Card, Cards, Details, Images, Part, Section, Table, Words
from report.published import EQUAL_LOG_LOSS, FIGURES, STYLE_AUC
from report.scores import twins

# Panels of one kind: laying out one for each of 200 bases takes minutes, and nobody looks at them.
MOST_PANELS = 12
_SIGMAS = 2.0


def summary(inputs: Inputs, findings: Findings, extras: Extras, alerts: list[str]) -> list[Part]:
    """What stands above all sections: the run in words, its main figures, and what to know before believing them."""
    stack, best = findings.models[STACK], findings.bases[0]
    first, prior = findings.models[best], inputs.scores["candidates"][PRIOR]["log_loss"]
    mean, deviation = calibrated_error(inputs.stack.probabilities[findings.rows])
    well = stack["ece"] <= mean + _SIGMAS * deviation
    difference = first["difference_interval"]
    lead = (
        f"On {findings.scored:,} voted battles the stack has a log loss of {number(stack['log_loss'])} ± "
        f"{number(1.96 * stack['log_loss_standard_error'])} nats (95 %; nested: each battle predicted without its own "
        "fold, "
        f"tuning and choice included). The best single model, {best}, has {number(first['log_loss'])}: the stack is "
        f"{number(first['difference'])} better ({between(difference)}). The vote frequencies alone have "
        f"{number(prior)}. "
        f"The stack names the right one of {'two' if findings.classes == 2 else 'three'} outcomes in "
        f"{percent(stack['accuracy'])} of the battles. It is "
        + (
            f"calibrated within chance: its calibration error is {number(stack['ece'])} where chance gives "
            f"{number(mean)} "
            f"± {number(deviation)}."
            if well
            else f"less well calibrated than chance explains: {number(stack['ece'])} against {number(mean)} ± "
            f"{number(deviation)}."
        )
    )
    cards = [
        Card("log loss of the stack", number(stack["log_loss"]), f"95 %: {between(stack['log_loss_interval'])}"),
        Card(f"best base: {best}", number(first["log_loss"]), f"95 %: {between(first['log_loss_interval'])}"),
        Card("vote frequencies", number(prior)),
        Card("accuracy", percent(stack["accuracy"])),
        Card("calibration error", number(stack["ece"], 3), f"by chance {number(mean, 3)}"),
        Card("voted battles", f"{max(findings.battles, extras.rows):,}", f"{findings.scored:,} of them scored"),
    ]
    notes = [Words(_TWO_CLASSES, "note")] if findings.classes == 2 else []
    return [Words(lead), Cards(cards), *notes, *(Words(text, "warning") for text in alerts)]


_TWO_CLASSES = (
    "No battle of this run can be a tie: there are two classes, the probability of a tie is 0 everywhere, and log loss "
    "is "
    "that of A against B, 0.6931 for one half each."
)


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
    candidates = {name: row for name, row in inputs.scores["candidates"].items() if name != STACK}
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


def calibration(findings: Findings, gallery: Gallery) -> Section:
    """Reliability diagrams of the stack and of the best bases."""
    shown = [STACK, *findings.bases[: MOST_PANELS - 1]]
    images = []
    for name in shown:
        figures = findings.models[name]
        caption = f"{name}: ECE {number(figures['ece'], 3)}, by chance {number(figures['chance_ece'], 3)}"
        what = f"Observed share against predicted probability of each outcome, {name}"
        images.append(
            gallery.add(f"reliability-{name}", draw_models.reliability(findings.reliability[name]), what, caption)
        )
    cut = len(findings.bases) - len(shown) + 1
    words = (
        "Of the battles given a probability p, a share p should come true: points on the dashed line. A flatter curve "
        "is "
        "over-confidence, a steeper one too much caution. Each point is a tenth of the battles (more where they are "
        "few), with its standard error; ECE is of the most probable outcome in 15 bins."
        + (f" Shown are the {len(shown) - 1} bases of {len(findings.bases)} with the lowest log loss." if cut else "")
    )
    return Section("calibration", "Calibration", [Words(words), Images(images)])


def training(inputs: Inputs, findings: Findings, extras: Extras, gallery: Gallery) -> Section:
    """Training curves; for runs that have some."""
    prior = float(findings.losses[PRIOR].mean())
    shown = [name for name in findings.bases if name in inputs.curves][:MOST_PANELS]
    images = [
        gallery.add(
            f"curves-{name}",
            draw_models.curves(inputs.curves[name], name in extras.squared, prior),
            f"Training loss by step of {name}, one line a fold"
            + ("" if name in extras.squared else "; dots: log loss on held-out battles"),
            f"{name}{' (squared error)' if name in extras.squared else ''}",
        )
        for name in shown
    ]
    most = sorted({extras.dots[name] for name in shown if name in extras.dots})
    up_to = f"at most {' or '.join(map(str, most))}" if most else "some"
    words = (
        "Lines: training loss of each fold, averaged over the last 8 % of all steps. Dots: log loss at an epoch's end "
        "on "
        f"{up_to} battles of the held-out fold, read in one response order, so it is noisier than the scores above and "
        "not the same figure; nothing is chosen by it. Dashed: the vote frequencies. Lines that fall while the dots "
        "rise "
        "are over-fitting; a line that stays at the dashed one has learnt nothing. A base trained on squared errors "
        "has "
        "another scale, and neither dots nor the dashed line."
    )
    return Section("training", "Training", [Words(words), Images(images)])
