"""The sections of the page: for each subject a sentence on what to look for, its figure, its table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from battles.schema import WINNERS
from oof.table import STACK
from report.draw_battles import TOP
from report.findings import Findings
from report.inputs import PRIOR
from report.page import Html, Section, beside, cards, details, heading, image, paragraph, table
from report.style import CLASS_NAMES

Images = Mapping[str, Path]


def number(value: float | None, decimals: int = 4, sign: bool = False) -> str:
    """A figure as text; a dash when it is not known."""
    if value is None or value != value:
        return "–"
    return f"{value:{'+' if sign else ''},.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def percent(value: float | None) -> str:
    """A share as text; a dash when it is not known."""
    return "–" if value is None or value != value else f"{value:.1%}"


def top(findings: Findings, scores: dict[str, Any]) -> list[Html]:
    """What stands above all sections: the run's main figures, and how many battles they are of."""
    stack = findings.models[STACK]
    bases = {name: figures["log_loss"] for name, figures in findings.models.items() if name != STACK}
    best = min(bases, key=lambda name: bases[name])
    parts = [
        cards(
            [
                ("log loss of the stack", number(stack["log_loss"])),
                ("prior", number(scores["candidates"][PRIOR]["log_loss"])),
                (f"best base: {best}", number(bases[best])),
                ("accuracy", percent(stack["accuracy"])),
                ("calibration error", number(stack["ece"], 3)),
                ("voted battles", f"{findings.battles:,}"),
            ]
        )
    ]
    if findings.classes == 2:
        parts.append(
            paragraph(
                "No battle of this run can be a tie: there are two classes, the probability of a tie is 0 everywhere, "
                "and log loss is that of A against B, 0.6931 for one half each.",
                "note",
            )
        )
    if findings.scored < findings.battles:
        parts.append(
            paragraph(
                f"Only {findings.scored:,} of {findings.battles:,} battles are scored: not every base has run all "
                "folds. Every figure of a prediction is of those battles.",
                "note",
            )
        )
    return parts


def scores(findings: Findings, scores: dict[str, Any], images: Images) -> Section:
    """The score table and the losses as bars."""
    prior = scores["candidates"][PRIOR]["log_loss"]
    kinds = {STACK: "nested", PRIOR: "reference"}
    listed = [(name, kinds.get(name, "candidate"), row) for name, row in scores["candidates"].items()]
    listed += [(name, "base", row) for name, row in scores["bases"].items()]
    rows = [
        [
            name,
            kind,
            number(row["log_loss"]),
            number(prior - row["log_loss"], sign=True),
            number(None if name == STACK else row["difference_standard_error"]),
            number(row["accuracy"]),
            number(row["macro_f1"]),
            number(row["ece"]),
            number(row["seconds"], 1),
        ]
        for name, kind, row in sorted(listed, key=lambda item: item[2]["log_loss"])
    ]
    head = ["model", "kind", "log loss", "gain on prior", "± to stack", "accuracy", "macro-F1", "ECE", "seconds"]
    return Section(
        "scores",
        "Scores",
        "Out-of-fold figures of every base model and every candidate of the stacker on the same battles. “stack” is "
        "the nested figure: on each fold, the candidate that was chosen without it. It should stand above every "
        f"base; the candidate that ships, fitted on all battles, is “{scores['shipped']}”. The standard error is that "
        "of the difference to the stack, with battles that share a prompt counted as one: a difference of less than "
        "twice that may be chance.",
        [
            table(head, rows, texts=2, strong=[STACK]),
            image(images["losses"], "Log loss of every model as a bar that starts at the prior's log loss"),
            details("Precision, recall and F1 of each class", _classes(findings)),
        ],
    )


def _classes(findings: Findings) -> Html:
    rows = [
        [
            name,
            label,
            *(number(figures[winner][key], 3) for key in ("precision", "recall", "f1")),
            f"{figures[winner]['votes']:,}",
            f"{figures[winner]['predicted']:,}",
        ]
        for name, model in findings.models.items()
        for figures in (model["classes"],)
        for winner, label in zip(WINNERS, CLASS_NAMES, strict=True)
        if winner in figures
    ]
    return table(["model", "class", "precision", "recall", "F1", "votes", "predicted"], rows, texts=2)


def calibration(images: Images, shown: int, bases: int) -> Section:
    """Reliability diagrams of the stack and of `shown` of the bases."""
    cut = f" Shown are the {shown} bases of {bases} with the lowest log loss." if shown < bases else ""
    return Section(
        "calibration",
        "Calibration",
        "Of the battles given a probability p, a share p should come true: points on the diagonal. A line flatter "
        "than it is over-confidence, a steeper one too much caution. Each point is a tenth of the battles (more "
        "where they are few), with its standard error; ECE is the expected calibration error of the most probable "
        f"class in 15 bins.{cut}",
        [image(images["reliability"], "Observed share against predicted probability, for the stack and each base")],
    )


def training(images: Images) -> Section:
    """Training curves; for runs that have some."""
    return Section(
        "training",
        "Training curves",
        "Lines: training loss of each fold, averaged over the last 8 % of all steps. Dots: log loss on the held-out "
        "fold at an epoch's end; nothing is chosen by them. Dashed: the prior. Lines that fall while the dots rise "
        "are over-fitting; a line that stays at the prior has learnt nothing.",
        [image(images["curves"], "Training loss and held-out log loss by step, one panel a base model")],
    )


def position(findings: Findings, images: Images) -> Section:
    """Position bias of votes and bases."""
    votes = findings.votes
    rows = [
        [
            name,
            *(number(row[key], sign=True) for key in ("mean", "plain", "swapped", "first_place")),
            percent(row["flips"]),
        ]
        for name, row in findings.position.items()
    ]
    head = ["model", "mean", "plain order", "swapped order", "for the first place", "favourite flips"]
    return Section(
        "position",
        "Position bias",
        f"The votes: A {percent(votes['share_a'])}, B {percent(votes['share_b'])}, tie {percent(votes['share_tie'])}, "
        f"so A leads by {number(votes['lead'], sign=True)} ± {number(votes['standard_error'])}. The figures below are "
        "the mean of P(A wins) minus P(B wins). A base that is blind to the order has both arrows in one place; half "
        "of their distance is what it gives to whatever stands first, and averaging the two orders takes it out.",
        [
            image(images["position"], "Mean lead of A by model, in plain and in swapped order, beside the votes'"),
            table(head, rows),
        ],
    )


def verbosity(findings: Findings, images: Images) -> Section:
    """Length of the responses against votes and stack."""
    lead = (
        "How often the longer response wins, a tie counted as half a win, from nearly equal lengths (left) to the "
        "most unequal tenth (right). Above 50 % voters favour length. The dashed line, what the stack expects, "
        "should mostly stay within the error bars."
    )
    if "verbosity" not in images:
        return Section(
            "verbosity", "Verbosity", lead, [paragraph("The lengths of responses are not known, or all equal.")]
        )
    what = "Win rate of the longer response by tenth of the length ratio, votes and stack"
    return Section("verbosity", "Verbosity", lead, [image(images["verbosity"], what)])


def exploration(findings: Findings, images: Images) -> Section:
    """Models, pairings and win rates."""
    if not findings.named:
        return Section(
            "models", "Models", "No battle of this run names both of its models, so there is nothing to count.", []
        )
    withheld = findings.battles - findings.named
    lead = (
        f"{len(findings.appearances)} models in {findings.named:,} battles that name both"
        + (f"; {withheld:,} others, with a missing or “unknown” name, are left out here" if withheld else "")
        + ". Look for models that hardly occur and pairings that dominate: a predictor sees little of the former and "
        "may learn the latter by heart. A win rate counts a tie as half a win and leaves out battles of a model with "
        "itself; it depends on the opponents a model was given. Ranked are models with at least a quarter of the "
        "median number of battles."
    )
    every = findings.win_rates.set_index("model")
    models = [
        [str(name), f"{count:,}", percent(every["win_rate"].get(name)), percent(every["standard_error"].get(name))]
        for name, count in findings.appearances.items()
    ]
    pairs = findings.pairings.head(100)
    counts = [_titled("Most frequent models", image(images["appearances"], "Battles of the most frequent models"))]
    if "win_rates" in images:
        what = "Win rates of the top models with their standard errors"
        counts.append(_titled(f"Top {TOP} models by win rate", image(images["win_rates"], what)))
    parts = [
        beside(*counts),
        details(f"All {len(models)} models", table(["model", "battles", "win rate", "± standard error"], models)),
        _titled("Most frequent pairings", image(images["pairings"], "Battles of the most frequent pairings")),
        details(f"Pairings: the {len(pairs)} most frequent of {len(findings.pairings):,}", _pairs(pairs)),
    ]
    return Section("models", "Models", lead, parts)


def _titled(title: str, part: Html) -> Html:
    return Html(heading(title).markup + part.markup)


def _pairs(pairs: pd.DataFrame) -> Html:
    rows = [
        [row["first"], row["second"], *(f"{row[key]:,}" for key in ("battles", "first_wins", "second_wins", "ties"))]
        for row in pairs.to_dict("records")
    ]
    return table(["first", "second", "battles", "first wins", "second wins", "ties"], rows, texts=2)


def mistakes(findings: Findings, images: Images) -> Section:
    """Confusion matrix and the battles that the stack got most wrong."""
    bases = len(findings.models) - 1
    rows = [
        [
            row["id"],
            str(row["fold"]),
            CLASS_NAMES[row["vote"]],
            CLASS_NAMES[row["favourite"]],
            number(row["probability"], 3),
            number(row["favourite_probability"], 3),
            f"{row['agreeing']} of {bases}",
        ]
        for row in findings.mistakes.to_dict("records")
    ]
    head = ["id", "fold", "vote", "favourite", "P(vote)", "P(favourite)", "bases agreeing"]
    return Section(
        "mistakes",
        "Mistakes of the stack",
        "Votes against the stack's most probable class; ties are hard to call and seldom anybody's favourite. Below, "
        "the battles whose vote it found least probable: where every base agrees with it the vote may be noise; "
        "where few do, the stacker trusted the wrong ones. Only ids are given, as texts may be unsafe to show.",
        [image(images["confusion"], "Confusion matrix of the stack"), table(head, rows, texts=4)],
    )
