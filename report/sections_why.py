"""The sections on why: what the stacker's predictions are made of, and battles to look at."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from report import charts
from report.browser import browser
from report.figures_as_text import number, percent
from report.findings import Findings
from report.gallery import Gallery
from report.inputs import Extras, Inputs
from report.page import Details, Heading, Images, Part, Section, Table, Words
from report.why import by_family, by_input

_LISTED = 40
_DRAWN = 15
_SIZES = ("lead of A", "tie", "trees' gain")


def why(inputs: Inputs, findings: Findings, extras: Extras, gallery: Gallery) -> Section:
    """Weights of the bases, what leaving one out costs, and contributions of the stacker's inputs."""
    parts: list[Part] = []
    explanation = extras.explanation
    if explanation is not None:
        families = by_family(explanation, list(inputs.bases))
        inputs_table = by_input(explanation, list(inputs.bases))
        sampled = int(explanation.sampled.sum())
        parts += [
            Words(
                "Every prediction of the stack is an exact sum over its inputs: of the lead of A over B, and of the "
                "log-odds of a tie. In regressions a term is a coefficient times a column; in boosted trees it is a "
                "SHAP value, in the forest what splits on the column change, in the kernel an integrated gradient. The "
                f"figures are mean sizes of these terms, in log-odds, over {sampled:,} battles drawn at random. Each "
                "battle is explained by the stacker of its fold, which has learnt from other folds alone."
            ),
            Images(
                [
                    gallery.add(
                        "families",
                        charts.bars(
                            families["family"].tolist(),
                            (families["lead"] + families["tie"]).tolist(),
                            [number(value, 2) for value in families["lead"] + families["tie"]],
                            "mean size, lead + tie, log-odds",
                        ),
                        "Mean contribution of each family of inputs",
                        "Families of inputs",
                    ),
                    gallery.add(
                        "contributions",
                        charts.bars(
                            inputs_table["input"].head(_DRAWN).tolist(),
                            (inputs_table["lead"] + inputs_table["tie"]).head(_DRAWN).tolist(),
                            [number(value, 2) for value in (inputs_table["lead"] + inputs_table["tie"]).head(_DRAWN)],
                            "mean size, lead + tie, log-odds",
                        ),
                        "Mean contribution of the inputs that matter most",
                        "Single inputs",
                    ),
                ]
            ),
            Details(
                f"All families of inputs, and the {min(_LISTED, len(inputs_table))} inputs that matter most of "
                f"{len(inputs_table)}",
                [
                    Table(
                        ["family", "inputs", *_SIZES],
                        [[row["family"], str(row["inputs"]), *_sizes(row)] for row in families.to_dict("records")],
                    ),
                    Table(
                        ["input", "family", *_SIZES],
                        [
                            [row["input"], row["family"], *_sizes(row)]
                            for row in inputs_table.head(_LISTED).to_dict("records")
                        ],
                        texts=2,
                    ),
                    Words(
                        "The trees' gain is what splits on an input took from the loss in training, as a share of all "
                        "splits."
                    ),
                ],
            ),
        ]
    parts += _bases(inputs, extras)
    return Section("why", "Why", parts)


def _sizes(row: Mapping[Any, Any]) -> list[str]:
    return [number(row["lead"], 3), number(row["tie"], 3), percent(row["gain"])]


def _bases(inputs: Inputs, extras: Extras) -> list[Part]:
    explanation = extras.explanation
    lost = inputs.scores["leave_one_out"]
    weights = {} if explanation is None else explanation.weights
    head = ["base", "weight in the lead", "weight in the tie", "nats lost without it", "± standard error"]
    rows = [
        [
            name,
            number(weights.get(name, {}).get("lead"), 3),
            number(weights.get(name, {}).get("tie"), 3),
            number(lost.get(name, {}).get("change"), sign=True),
            number(lost.get(name, {}).get("standard_error")),
        ]
        for name in sorted(inputs.bases, key=lambda name: -lost.get(name, {}).get("change", 0.0))
    ]
    words = (
        "A weight is what a base's log-odds are multiplied with in the linear part of the shipped stacker; trees come "
        "on top. A base that repeats another shares its weight, so a small one is no proof that it is useless."
    )
    if lost:
        words += (
            " The nats lost are out of fold, of the log-loss-optimal blend without the base: the stacker itself would "
            "have to be tuned once more for each."
        )
    return [Heading("Base models"), Words(words), Table(head, rows)]


def battles(inputs: Inputs, extras: Extras, chosen: Mapping[str, np.ndarray]) -> Section:
    """The browser of battles."""
    part = browser(inputs, chosen, extras.explanation, extras.with_texts)
    words = (
        f"{len(part.battles)} battles, chosen by the stack's nested probabilities: the worst (whose vote it found "
        "least probable), the most characteristic (of each vote those it was surest of), those on which the bases "
        "disagree most, and some drawn at random. A click opens one: the texts, what every model says, and the inputs "
        "that moved the stack's prediction most, as read and with A and B exchanged (mapped back, so equal figures "
        "mean that the place does not matter). No prediction is of a model that has learnt from the battle."
    )
    if not part.with_texts:
        words += (
            " Texts are left out (TEXTS=no)."
            if inputs.prompts is not None
            else " This run has predictions only, and no texts."
        )
    else:
        words += " Texts are shown as they are, and may be unsafe to read. TEXTS=no leaves them out."
    return Section("battles", "Battles to read", [Words(words), part])
