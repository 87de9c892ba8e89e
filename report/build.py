"""Writes a run's report: the figures, the page that holds them, its numbers as JSON, and the model card."""

from pathlib import Path
from typing import Any

from battles.files import write_json, write_text
from oof.table import STACK
from report import (
    card,
    sections_battles,
    sections_learning,
    sections_run,
    sections_scores,
    sections_splits,
    sections_summary,
    sections_training,
    sections_where,
    sections_why,
)
from report.alerts import alerts
from report.browser import choose
from report.findings import Findings, find, records, to_json
from report.gallery import Gallery
from report.inputs import Extras, Inputs
from report.learning import by_share
from report.page import Section, page
from report.why import by_family, by_input

_ORIGIN = {"code_version": "code", "params_hash": "stack params", "fold_hash": "folds"}


def build(inputs: Inputs, folder: Path, extras: Extras | None = None) -> Findings:
    """Writes `figures/*.svg`, `index.html`, `metrics.json` and `MODEL_CARD.md` to `folder`; raises BadInput as `find`.

    The page stands alone: the figures are inside of it. Figures of an earlier report that this one lacks are removed.
    """
    extras = extras or Extras()
    findings = find(inputs)
    warnings = alerts(inputs, findings, extras)
    gallery = Gallery(folder / "figures")
    sections = _sections(inputs, findings, extras, gallery)
    gallery.forget_others()
    write_json(folder / "metrics.json", to_json(inputs, findings) | _of_extras(inputs, extras) | {"alerts": warnings})
    top = sections_summary.summary(inputs, findings, extras, warnings)
    title = f"Preference prediction: run {inputs.run}"
    write_text(folder / "index.html", page(title, top, sections, _foot(inputs.stack.metadata), gallery.folder))
    write_text(folder / "MODEL_CARD.md", card.card(inputs, findings, extras, warnings))
    return findings


def _sections(inputs: Inputs, findings: Findings, extras: Extras, gallery: Gallery) -> list[Section]:
    """The sections that have something to show; what others lack is said at the end."""
    sections = [
        sections_scores.scores(inputs, findings, gallery),
        sections_why.why(inputs, findings, extras, gallery),
        sections_why.battles(inputs, extras, choose(inputs)),
        sections_where.where(findings, gallery),
        sections_training.calibration(findings, gallery),
        sections_where.order(findings, gallery),
    ]
    if len(findings.verbosity):
        sections.append(sections_where.verbosity(findings, gallery))
    if inputs.curves:
        sections.append(sections_training.training(inputs, findings, extras, gallery))
    if extras.splits is not None:
        sections.append(sections_splits.splits(extras.splits))
    if extras.learning:
        sections.append(sections_learning.learning(findings, extras, gallery))
    sections.append(sections_battles.battles(inputs, findings, gallery))
    if findings.named:
        sections.append(sections_battles.models(findings, gallery))
    if extras.drift is not None:
        sections.append(sections_battles.drift(extras))
    if extras.studies:
        sections.append(sections_run.study(inputs, findings, extras, gallery))
    lacking = sections_run.missing(inputs, findings, extras)
    return [*sections, sections_run.about(inputs, findings, extras), sections_run.words(lacking)]


def _of_extras(inputs: Inputs, extras: Extras) -> dict[str, Any]:
    """The figures of what stands beside the tables, as JSON values."""
    why, drift = extras.explanation, extras.drift
    bases = list(inputs.bases)
    return {
        "why": None
        if why is None
        else {
            "battles": int(why.sampled.sum()),
            "families": records(by_family(why, bases)),
            "inputs": records(by_input(why, bases)),
            "base_weights": {name: dict(weights) for name, weights in why.weights.items()},
        },
        "learning": [
            {"draws": one.curve.draws, "scored": len(one.curve.rows), "fixed": one.fixed}
            | {"models": {model: [point._asdict() for point in points] for model, points in by_share(one).items()}}
            for one in extras.learning
        ],
        "splits": extras.splits,
        "reached": {name: one._asdict() for name, one in extras.reached.items()},
        "drift": None
        if drift is None
        else {"auc": drift.auc, "chance": drift.chance, "columns": drift.columns.to_dict("records")},
        "studies": {
            one.name: {
                "trials": len(one.trials),
                "best": None if one.trials["value"].isna().all() else float(one.trials["value"].min()),
                "importances": dict(one.importances),
            }
            for one in extras.studies
        },
        "made": extras.made,
        "facts": dict(extras.facts),
    }


def _foot(metadata: dict[str, Any]) -> str:
    told = [f"{title} {metadata[key]}" for key, title in _ORIGIN.items() if key in metadata]
    told += [f"{name} {version}" for name, version in metadata.get("libraries", {}).items()]
    return f"Made from {STACK}: {', '.join(told)}"
