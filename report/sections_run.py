"""The sections on the run itself: studies of the stacker, where everything comes from, words, what is missing."""

import json

import pandas as pd

from oof.table import STACK
from report import charts, draw_study
from report.figures_as_text import duration, number
from report.findings import Findings
from report.gallery import Gallery
from report.glossary import GLOSSARY
from report.inputs import Extras, Inputs, StudyTrials
from report.page import Details, Heading, Image, Images, Part, Section, Table, Terms, Words

# Trials below which importances and parallel coordinates would be read into noise.
_ENOUGH_TRIALS = 10
_FIXED = ("number", "state", "value", "rounds", "seconds")


def study(inputs: Inputs, findings: Findings, extras: Extras, gallery: Gallery) -> Section:
    """The tuning of the stacker's boosters; for runs whose studies can be read."""
    nested = findings.models[STACK]["log_loss"]
    words = (
        "The boosters are tuned on inner folds, once for all battles and once without each outer fold. The first "
        "trial is chosen unless the best leads it by two standard errors. On the folds it was chosen on the best of "
        f"many trials is optimistic; the stack's nested log loss, {number(nested)}, includes the cost of that choice. "
        f"All of it is in the dashboard: make dashboard RUN={inputs.run}"
    )
    rows = [_line(one) for one in extras.studies]
    head = ["study", "best inner log loss", "chosen trial's", "its trees", "complete", "pruned", "failed", "time"]
    final = [one for one in extras.studies if "all battles" in one.name]
    parts: list[Part] = [Words(words), *_optimism(inputs), Table(head, rows)]
    for at, one in enumerate(final):
        parts += [Heading(one.name), *_of_study(at, one, gallery)]
    return Section("study", "Tuning", parts)


def _optimism(inputs: Inputs) -> list[Part]:
    """Inner loss of the chosen trial of each tuned candidate beside its nested one; nothing where none is named."""
    candidates = inputs.scores["candidates"]
    found = [
        (name, inner, candidates[name]["log_loss"])
        for name, inner in inputs.scores.get("optimistic", {}).items()
        if name in candidates
    ]
    rows = [
        [name, number(inner), number(nested), number(nested - inner, sign=True)]
        for name, inner, nested in sorted(found, key=lambda one: one[2])
    ]
    head = ["candidate", "chosen trial, inner log loss", "nested log loss", "optimism, nats"]
    return [Table(head, rows)] if rows else []


def _line(one: StudyTrials) -> list[str]:
    states = one.trials["state"].value_counts()
    done = one.trials[one.trials["state"] == draw_study.COMPLETE]
    chosen = _chosen(one)
    return [
        one.name,
        number(float(done["value"].min()) if len(done) else None, 5),
        number(None if chosen is None else float(chosen["value"]), 5),
        "none" if chosen is None else f"{int(chosen['rounds'])} rounds" if chosen["rounds"] else "no trees",
        *(str(int(states.get(name, 0))) for name in (draw_study.COMPLETE, draw_study.PRUNED, "FAIL")),
        duration(float(one.trials["seconds"].sum())),
    ]


def _chosen(one: StudyTrials) -> pd.Series | None:
    """The trial whose params the boosters have."""
    found = one.trials[one.trials["number"] == one.chosen]
    return found.iloc[0] if len(found) else None


def _of_study(at: int, one: StudyTrials, gallery: Gallery) -> list[Part]:
    done = one.trials[one.trials["state"] == draw_study.COMPLETE]
    if not len(done):
        return [Words("No trial is complete.")]
    images: list[Image] = [
        gallery.add(
            f"study-{at}-history", draw_study.history(one.trials), f"History of the study {one.name}", "History"
        )
    ]
    params = [name for name in one.trials.columns if name not in _FIXED]
    enough = len(done) >= _ENOUGH_TRIALS
    if enough:
        figure = draw_study.parallel_coordinates(one.trials, params)
        what = f"Parallel coordinates of the trials of {one.name}, the best tenth marked"
        images.append(gallery.add(f"study-{at}-coordinates", figure, what, "Params by rank, the best tenth marked"))
    if enough and one.importances:
        values = list(one.importances.values())
        figure = charts.bars(list(one.importances), values, [f"{value:.0%}" for value in values], "share of importance")
        what = f"Importances of the params of {one.name}"
        images.append(gallery.add(f"study-{at}-importances", figure, what, "Importance (PED-ANOVA)"))
    parts: list[Part] = [Images(images)]
    if (chosen := _chosen(one)) is not None:
        rows = [[name, _setting(chosen[name])] for name in params]
        parts.append(Details(f"Params of the chosen trial, {one.chosen}", [Table(["param", "value"], rows)]))
    if not enough:
        few = f"{len(done)} complete trials are too few to say which params matter (at least {_ENOUGH_TRIALS})."
        parts.insert(0, Words(few))
    return parts


def _setting(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def about(inputs: Inputs, findings: Findings, extras: Extras) -> Section:
    """Date, files, machine, code and settings."""
    facts = [
        ("run", inputs.run),
        ("made", extras.made),
        ("voted battles", f"{max(findings.battles, extras.rows):,}; predicted by every base: {findings.scored:,}"),
        *extras.facts,
    ]
    parts: list[Part] = [Table(["", ""], [[name, value] for name, value in facts if value], texts=2)]
    if extras.settings:
        rows = [
            [section, name, json.dumps(value) if not isinstance(value, str) else value]
            for section, settings in extras.settings.items()
            for name, value in settings.items()
        ]
        parts.append(Details("All settings of this run", [Table(["section", "setting", "value"], rows, texts=3)]))
    return Section("run", "This run", parts)


def missing(inputs: Inputs, findings: Findings, extras: Extras) -> list[str]:
    """What this report lacks, why, and what would give it; one sentence each."""
    lines = []
    if inputs.prompts is None:
        lines.append(
            "Texts, lengths, scripts and turns: the run is made of predictions made elsewhere, which come without "
            "texts."
        )
    elif not len(findings.verbosity):
        lines.append("Length and style: the lengths of responses are not known, or all equal.")
    if not findings.named:
        lines.append("Models and ratings: no battle of this run names both of its models.")
    elif findings.ratings is None:
        lines.append("Ratings: fewer than two models have enough battles against each other.")
    if not inputs.curves:
        lines.append("Training curves: no base of this run is trained in steps.")
    if not extras.learning:
        lines.append("Learning curves: the bases cover a single fold, and there is nothing to fit again.")
    if extras.splits is None:
        lines.append(f"Other splits: the figures are of one split; `make stack RUN={inputs.run} SPLITS=5` makes more.")
    if extras.explanation is None:
        lines.append("Contributions to the predictions: the saved stacker was not read.")
    if not extras.studies:
        lines.append("Tuning: no study of the run was found (studies in a database are read where STORAGE names it).")
    if not extras.test_battles:
        lines.append("Difference to the test battles: the run has none (TEST=path).")
    elif extras.drift is None:
        lines.append("Difference to the test battles: too few of them, or of the training battles, to compare (50).")
    return lines


def words(lines: list[str]) -> Section:
    """The glossary, and what is not in the report."""
    parts: list[Part] = []
    if lines:
        parts += [Heading("Not in this report"), *(Words(line) for line in lines), Heading("Words")]
    return Section("words", "Words", [*parts, Terms(GLOSSARY)])
