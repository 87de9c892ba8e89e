"""The sections on where models fail: by kind of battle, by fold, by response order, by length."""

from oof.table import STACK
from report import charts, draw_models
from report.figures_as_text import between, number, percent
from report.findings import Findings
from report.gallery import Gallery
from report.inputs import PRIOR
from report.page import Details, Heading, Image, Images, Part, Section, Table, Words
from report.published import STYLE_AUC


def where(findings: Findings, gallery: Gallery) -> Section:
    """Loss by segment, with intervals, and by fold; agreement between bases."""
    table, overall = findings.segments, findings.models[STACK]["log_loss"]
    rows: list[list[str]] = []
    images: list[Image] = []
    for kind in dict.fromkeys(table["kind"]):
        part = table[table["kind"] == kind]
        rows += [
            [
                row["kind"],
                row["segment"],
                f"{row['battles']:,}",
                percent(row["share"], 0),
                number(row["log_loss"]),
                between((row["low"], row["high"])),
                number(row["best base"]),
                number(row[PRIOR]),
                number(row[PRIOR] - row["log_loss"], sign=True),
            ]
            for row in part.to_dict("records")
        ]
        if len(part) > 1:
            name = f"segments-{len(images)}"
            figure = charts.dots(
                [f"{row.segment} ({row.battles:,})" for row in part.itertuples()],
                part["log_loss"].tolist(),
                part[["low", "high"]].to_numpy().tolist(),
                "log loss, 95 %; dashed: all battles",
                overall,
            )
            images.append(gallery.add(name, figure, f"Log loss of the stack by {kind}", f"By {kind}"))
    head = ["kind", "segment", "battles", "share", "log loss, nats", "95 %", "best base", PRIOR, "gain on the prior"]
    parts: list[Part] = [
        Words(
            "Log loss of the stack by kind of battle. A high loss may mean hard battles or a weak model: the gain on "
            "the vote frequencies, over the same battles, tells them apart. Where it is near 0 the stack knows "
            "nothing; below 0 it does harm. The more kinds one looks at, the more will stand out by chance."
        ),
        *([Images(images)] if images else []),
        Table(head, rows, texts=2),
        *_by_fold(findings),
        *_agreement(findings),
    ]
    return Section("where", "Where it fails", parts)


def _by_fold(findings: Findings) -> list[Part]:
    models = [name for name in findings.folds.columns if name not in ("fold", "battles")]
    rows = [
        [str(row["fold"]), f"{row['battles']:,}", *(number(row[name]) for name in models)]
        for row in findings.folds.to_dict("records")
    ]
    spread = findings.folds[STACK].std(ddof=1) if len(findings.folds) > 1 else None
    words = f"Log loss by fold; the stack's varies by {number(spread)} (standard deviation) between folds."
    return [Heading("Fold by fold"), Words(words), Table(["fold", "battles", *models], rows)]


def _agreement(findings: Findings) -> list[Part]:
    if not len(findings.agreement):
        return []
    rows = [
        [row["one"], row["other"], percent(row["same_favourite"]), number(row["lead_correlation"], 3)]
        for row in findings.agreement.sort_values("lead_correlation").to_dict("records")
    ]
    words = (
        "How often two bases have the same favourite, and how their leads of A over B correlate. Good bases that agree "
        "little are what a stacker lives on; two that agree nearly always are one."
    )
    table = Table(["one", "other", "same favourite", "correlation of leads"], rows, texts=2)
    shown: Part = table if len(rows) <= 15 else Details(f"All {len(rows)} pairs", [table])
    return [Heading("Agreement of the bases"), Words(words), shown]


def order(findings: Findings, gallery: Gallery) -> Section:
    """Position bias of votes and models, and what reading both orders changed."""
    votes = findings.votes
    both = [name for name, row in findings.position.items() if row["plain"] is not None]
    words = (
        f"The votes: A {percent(votes['share_a'])}, B {percent(votes['share_b'])}, tie {percent(votes['share_tie'])}; "
        f"A leads by {number(votes['lead'], sign=True)} ± {number(1.96 * votes['standard_error'])} (95 %). Points are "
        "the mean of P(A wins) − P(B wins) of each model."
    )
    if both:
        words += (
            " A base that reads both response orders has a triangle for each; half their distance is what it gives to "
            "whatever stands first, and averaging the orders takes it out."
        )
    else:
        words += " No base of this run was read in both response orders, so there is one point each."
    listed = dict(list(findings.position.items())[:40])
    image = gallery.add(
        "position", draw_models.position(listed, votes), "Mean lead of A by model and response order, beside the votes'"
    )
    rows = [
        [
            name,
            *(number(row[key], sign=True) for key in ("mean", "plain", "swapped", "first_place")),
            percent(row["flips"]),
        ]
        for name, row in findings.position.items()
    ]
    head = ["model", "as used", "plain order", "swapped order", "for the first place", "favourite flips"]
    parts: list[Part] = [Words(words), Images([image])]
    parts.append(Table(head, rows) if both else Details("As a table", [Table(head[:2], [row[:2] for row in rows])]))
    if findings.second_order:
        parts += _second_order(findings)
    return Section("order", "Response order", parts)


def _second_order(findings: Findings) -> list[Part]:
    rows = [
        [
            name,
            f"{row['battles']:,}",
            *(number(row[key]) for key in ("plain", "swapped", "mean")),
            number(row["change"], sign=True),
            number(row["standard_error"]),
        ]
        for name, row in findings.second_order.items()
    ]
    words = (
        "What swap TTA (reading each battle in both orders and averaging) changed in log loss, over the battles that "
        "were read in both; below 0 it helped."
    )
    head = ["base", "battles", "plain order", "swapped order", "averaged", "change", "± standard error"]
    return [Heading("What the second order changed"), Words(words), Table(head, rows)]


def verbosity(findings: Findings, gallery: Gallery) -> Section:
    """Length of the responses against votes and stack; for runs that know lengths."""
    words = (
        "How often the longer response wins, a tie counted as half a win, from nearly equal lengths (left) to the "
        "most unequal tenth (right). Above 50 % voters favour length. The dashed line, what the stack expects, should "
        "mostly stay within the intervals."
    )
    what = "Win rate of the longer response by tenth of the length ratio, votes and stack"
    rows = [
        [
            f"{number(row['ratio_from'], 2)} to {number(row['ratio_to'], 2)}",
            f"{row['battles']:,}",
            percent(row["votes"]),
            f"± {percent(1.96 * row['standard_error'])}",
            percent(row["predicted"]),
        ]
        for row in findings.verbosity.to_dict("records")
    ]
    parts: list[Part] = [
        Words(words),
        Images([gallery.add("verbosity", draw_models.verbosity(findings.verbosity), what)]),
        Details("As a table", [Table(["length ratio", "battles", "longer wins", "95 %", "stack expects"], rows)]),
    ]
    if len(findings.gap):
        parts += _gap(findings)
    return Section("style", "Length and style", parts)


def _gap(findings: Findings) -> list[Part]:
    rows = [
        [row["what"], number(row["log_loss"]), percent(row["share"], 0), number(row["decisive_auc"], 3)]
        for row in findings.gap.to_dict("records")
    ]
    words = (
        "How much of the vote is style: the log loss of logistic regressions that see nothing but differences in "
        "length and markdown, cross-fitted on the same folds, and how much of the way from the vote frequencies to "
        "the stack that is. The rest is what the responses say. The AUC is of the "
        f"decisive battles; on 98,000 of a later set of the Arena style alone reached {STYLE_AUC}."
    )
    head = ["what it sees", "log loss, nats", "of the way", "AUC, decisive"]
    return [Heading("How much is style"), Words(words), Table(head, rows)]
