"""The sections on the battles: what they are like, their models and ratings, and how the test set differs."""

import math

import numpy as np
import pandas as pd

from report import charts, draw_models
from report.exploration import QUANTILES, RANKED_BATTLES
from report.figures_as_text import VOTES, between, number, percent
from report.findings import Findings
from report.gallery import Gallery
from report.inputs import Extras, Inputs
from report.page import Details, Heading, Image, Images, Part, Section, Table, Words
from report.ratings import DRAWS, ELO, LEAST_BATTLES, Ratings

TOP = 20
_PAIRS = 100


def battles(inputs: Inputs, findings: Findings, gallery: Gallery) -> Section:
    """Votes, turns, scripts, lengths and repeated prompts."""
    profile, votes = findings.profile, findings.votes
    shares = (votes["share_a"], votes["share_b"], votes["share_tie"])
    words = f"{findings.battles:,} voted battles of {profile.distinct_prompts:,} distinct prompts. Votes: "
    words += ", ".join(f"{name} {percent(share)}" for name, share in zip(VOTES.values(), shares, strict=True)) + "."
    if len(profile.scripts) == 1:
        words += f" All prompts have the same script ({next(iter(profile.scripts))})."
    images: list[Image] = []
    for name, counts, what in (
        ("turns", profile.turns, "Turns of the prompt"),
        ("scripts", profile.scripts, "Script of the prompt"),
        ("repeated", profile.repeated, "How often a prompt was asked"),
    ):
        if len(counts) > 1:
            figure = charts.bars(
                list(counts), list(counts.values()), [f"{count:,}" for count in counts.values()], "battles"
            )
            images.append(gallery.add(name, figure, f"{what}: battles", what))
    if not np.isnan(inputs.lengths).any():
        images.append(_lengths(inputs, gallery))
    parts: list[Part] = [Words(words), *([Images(images)] if images else [])]
    if profile.lengths:
        head = ["characters", *(f"{share:.0%}" for share in QUANTILES)]
        rows = [[name, *(f"{value:,.0f}" for value in values)] for name, values in profile.lengths.items()]
        parts.append(Table(head, rows))
        parts.append(
            Words(
                "Half of all texts are shorter than the figure under 50%."
                + (" A script is no language: Latin is many." if len(profile.scripts) > 1 else "")
            )
        )
    return Section("set", "The battles", parts)


def _lengths(inputs: Inputs, gallery: Gallery) -> Image:
    logs = inputs.lengths.ravel() / math.log(10)
    counts, edges = np.histogram(logs, bins=40, range=(0, max(1.0, float(logs.max()))))
    what = "characters of a response (logarithmic)"
    figure = charts.histogram(edges.tolist(), counts.tolist(), what, "responses")
    return gallery.add("lengths", figure, "Histogram of the responses' lengths", "Length of the responses")


def models(findings: Findings, gallery: Gallery) -> Section:
    """Model use, pairings, win rates and ratings; for runs whose battles name their models."""
    withheld = findings.battles - findings.named
    words = (
        f"{len(findings.appearances)} models in {findings.named:,} battles that name both"
        + (f"; {withheld:,} others, with a missing or “unknown” name, are left out here. " if withheld else ". ")
        + "A win rate counts a tie as half a win; it depends on the opponents a model was given, which a rating "
        f"accounts for. Ranked by win rate are models with at least {RANKED_BATTLES} battles."
    )
    images = [_counts(findings.appearances.head(TOP), gallery, "appearances", "Most frequent models")]
    ranked = findings.win_rates[findings.win_rates["ranked"]].head(TOP)
    if len(ranked):
        figure = charts.dots(
            ranked["model"].tolist(),
            ranked["win_rate"].tolist(),
            ranked[["low", "high"]].to_numpy().tolist(),
            "win rate, ties half: 95 % interval",
            0.5,
            form=".1%",
        )
        caption = f"Top {len(ranked)} by win rate, of {int(findings.win_rates['ranked'].sum())} ranked"
        images.append(gallery.add("win_rates", figure, "Win rates with 95 % intervals", caption))
    parts: list[Part] = [Words(words), Images(images)]
    if findings.ratings is not None:
        parts += _ratings(findings.ratings, findings.styled_ratings, gallery)
    every = findings.win_rates.set_index("model")
    listed = [
        [
            str(name),
            f"{count:,}",
            percent(every["win_rate"].get(name)),
            between_shares(every, str(name)),
        ]
        for name, count in findings.appearances.items()
    ]
    pairs = findings.pairings.head(_PAIRS)
    parts += [
        Details(f"All {len(listed)} models", [Table(["model", "battles", "win rate", "95 %"], listed)]),
        Details(f"Pairings: the {len(pairs)} most frequent of {len(findings.pairings):,}", [_pairs(pairs)]),
    ]
    return Section("models", "Models", parts)


def between_shares(table: pd.DataFrame, name: str) -> str:
    """The interval of a model's win rate as text."""
    low, high = table["low"].get(name), table["high"].get(name)
    return f"{percent(low)} to {percent(high)}" if low is not None else percent(None)


def _counts(counts: pd.Series, gallery: Gallery, name: str, caption: str) -> Image:
    labels = [f"{count:,}" for count in counts]
    figure = charts.bars([str(model) for model in counts.index], counts.tolist(), labels, "battles")
    return gallery.add(name, figure, f"{caption}: battles", caption)


def _pairs(pairs: pd.DataFrame) -> Table:
    rows = [
        [row["first"], row["second"], *(f"{row[key]:,}" for key in ("battles", "first_wins", "second_wins", "ties"))]
        for row in pairs.to_dict("records")
    ]
    return Table(["first", "second", "battles", "first wins", "second wins", "ties"], rows, texts=2)


def _ratings(plain: Ratings, styled: Ratings | None, gallery: Gallery) -> list[Part]:
    rated = {"votes": plain.models, **({"style": styled.models} if styled is not None else {})}
    captions = {"votes": "Rating", "style": "Rating at equal style"}
    images = []
    for name, table in rated.items():
        top = table.head(TOP)
        figure = charts.dots(
            top["model"].tolist(),
            (top["rating"] * ELO).tolist(),
            (top[["low", "high"]] * ELO).to_numpy().tolist(),
            "points around the mean: 95 % interval",
            0.0,
            form="+.0f",
        )
        what = f"{captions[name]} of the best {len(top)} models with 95 % intervals"
        images.append(
            gallery.add(f"ratings-{name}", figure, what, f"{captions[name]}: best {len(top)} of {len(table)}")
        )
    if styled is not None:
        figure = draw_models.ratings(_both(plain.models, styled.models))
        what = "Rating at equal style against rating, one dot a model"
        images.append(gallery.add("ratings-both", figure, what, f"What style adds, {len(plain.models)} models"))
    words = (
        "Ratings by Bradley–Terry with ties after Davidson, on the Arena's scale: 400 points are odds of 10 : 1. Of "
        f"models with at least {LEAST_BATTLES} battles, around their mean; intervals by bootstrap over prompts "
        f"({DRAWS} draws). Between equal models a tie is {number(plain.tie, 2)} times as likely as a win of one of "
        "them."
    )
    parts: list[Part] = [Heading("Ratings"), Words(words), Images(images)]
    if styled is not None:
        rows = [
            [row["style"], number(row["coefficient"], 3, sign=True), between((row["low"], row["high"]), 3)]
            for row in styled.style.to_dict("records")
        ]
        parts += [
            Words(
                "Style control, as the Arena does it: the difference of the responses in length, lists, headings and "
                "bold enters beside the models, each as (A − B) / (A + B) in standard deviations. A coefficient is "
                "the log-odds of a win for one standard deviation more. In the figure, models below the dashed line "
                "owe votes to their style."
            ),
            Table(["style", "coefficient", "95 %"], rows),
        ]
    at_equal = {} if styled is None else styled.models.set_index("model")["rating"].to_dict()
    listed = [
        [
            row["model"],
            f"{row['battles']:,}",
            number(row["rating"] * ELO, 0, sign=True),
            between((row["low"] * ELO, row["high"] * ELO), 0),
            number(at_equal[row["model"]] * ELO, 0, sign=True) if row["model"] in at_equal else "–",
        ]
        for row in plain.models.to_dict("records")
    ]
    head = ["model", "battles", "rating", "95 %", "at equal style"]
    return [*parts, Details(f"Ratings of all {len(listed)} models", [Table(head, listed)])]


def _both(plain: pd.DataFrame, styled: pd.DataFrame) -> pd.DataFrame:
    """Models that are rated both ways: `model, battles, rating, styled`, on the Arena's scale."""
    both = plain[["model", "battles", "rating"]].merge(
        styled[["model", "rating"]], on="model", suffixes=("", "_styled")
    )
    return both.assign(rating=both["rating"] * ELO, styled=both.pop("rating_styled") * ELO)


def drift(extras: Extras) -> Section:
    """How the test battles differ from the training battles; for runs with test battles and features."""
    found = extras.drift
    assert found is not None
    words = (
        f"A classifier that is trained to tell the {extras.test_battles:,} test battles from the training battles by "
        f"their handcrafted columns reaches an AUC of {number(found.auc, 3)} (cross-validated over prompts; 0.5 ± "
        f"{number(1.96 * found.chance, 3)} if they were alike). "
        + (
            "They differ: out-of-fold figures may not hold for the test battles."
            if found.noticeable
            else "That is no difference to worry about."
        )
        + " Below, the columns that tell them apart best alone, with their medians (lengths are logarithms)."
    )
    rows = [
        [row["column"], number(row["auc"], 3), number(row["train"], 3), number(row["test"], 3)]
        for row in found.columns.head(12).to_dict("records")
    ]
    table = Table(["column", "AUC alone", "median, training", "median, test"], rows)
    return Section("drift", "Training and test", [Words(words), table])
