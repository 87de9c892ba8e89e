"""Writes a run's report: the figures, the page that holds them, and its numbers as JSON."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from battles.files import write_json, write_text
from oof.table import STACK
from report import draw_battles, draw_models, sections
from report.findings import Findings, find, to_json
from report.inputs import PRIOR, Inputs
from report.page import page
from report.style import save, styled

# Panels of a figure: laying out one for each of 200 bases takes minutes, and nobody looks at them.
MOST_PANELS = 12
_ORIGIN = {"code_version": "code", "params_hash": "stack params", "fold_hash": "folds"}


def build(inputs: Inputs, folder: Path) -> Findings:
    """Writes `figures/*.svg`, `index.html` and `metrics.json` to `folder`; raises BadInput as `find` does.

    The page stands alone: the figures are inside of it. Figures of an earlier report that this one lacks are removed.
    """
    findings = find(inputs)
    images: dict[str, Path] = {}
    with styled():
        for name, figure in _figures(inputs, findings).items():
            images[name] = folder / "figures" / f"{name}.svg"
            save(figure, images[name])
    for old in (folder / "figures").glob("*.svg"):
        if old.stem not in images:
            old.unlink()
    write_json(folder / "metrics.json", to_json(inputs, findings))
    write_text(folder / "index.html", _page(inputs, findings, images))
    return findings


def _figures(inputs: Inputs, findings: Findings) -> dict[str, Figure]:
    scores = inputs.scores
    prior = scores["candidates"][PRIOR]["log_loss"]
    shown = _with_panels(findings)
    figures = {
        "losses": draw_models.losses(scores["bases"] | scores["candidates"], prior, STACK),
        "reliability": draw_models.reliability(
            {name: findings.reliability[name] for name in shown}, {name: findings.models[name]["ece"] for name in shown}
        ),
        "position": draw_models.position(findings.position, findings.votes),
        "confusion": draw_models.confusion(findings.confusion[STACK]),
    }
    curves = {name: inputs.curves[name] for name in shown if name in inputs.curves}
    if curves:
        figures["curves"] = draw_models.curves(curves, prior)
    if len(findings.verbosity):
        figures["verbosity"] = draw_battles.verbosity(findings.verbosity)
    if findings.named:
        figures["appearances"] = draw_battles.appearances(findings.appearances)
        figures["pairings"] = draw_battles.pairings(findings.pairings)
    if len(findings.win_rates):
        figures["win_rates"] = draw_battles.win_rates(findings.win_rates)
    return figures


def _with_panels(findings: Findings) -> list[str]:
    """The stack and the bases that have panels of their own, in their order: all, or the best of very many."""
    bases = sorted((name for name in findings.models if name != STACK), key=lambda name: _log_loss(findings, name))
    kept = {STACK, *bases[: MOST_PANELS - 1]}
    return [name for name in findings.models if name in kept]


def _log_loss(findings: Findings, name: str) -> float:
    return float(findings.models[name]["log_loss"])


def _page(inputs: Inputs, findings: Findings, images: dict[str, Path]) -> str:
    parts = [
        sections.scores(findings, inputs.scores, images),
        sections.calibration(images, len(_with_panels(findings)) - 1, len(inputs.bases)),
        *([sections.training(images)] if "curves" in images else []),
        sections.position(findings, images),
        sections.verbosity(findings, images),
        sections.mistakes(findings, images),
        sections.exploration(findings, images),
    ]
    top = sections.top(findings, inputs.scores)
    return page(f"Preference prediction: run {inputs.run}", top, parts, _foot(inputs.stack.metadata))


def _foot(metadata: dict[str, Any]) -> str:
    told = [f"{title} {metadata[key]}" for key, title in _ORIGIN.items() if key in metadata]
    told += [f"{name} {version}" for name, version in metadata.get("libraries", {}).items()]
    return f"Made from: {', '.join(told)}"
