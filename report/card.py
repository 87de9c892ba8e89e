"""`MODEL_CARD.md` of a run, in the form that the Hugging Face hub reads."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from oof.table import STACK
from report.figures_as_text import between, duration, number, percent
from report.findings import Findings
from report.inputs import Extras, Inputs
from report.style import clean

_FOLDER = Path(__file__).parent
# What would start markup or a new cell in Markdown.
_MARKS = "\\`*_{}[]<>|#"


def card(inputs: Inputs, findings: Findings, extras: Extras, alerts: list[str]) -> str:
    """The text of the card."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=False,  # Markdown; names from files are escaped by `_plain`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    stack, votes = findings.models[STACK], findings.votes
    names = [STACK, *findings.bases]
    style = findings.gap[findings.gap["what"].str.startswith("style")] if len(findings.gap) else findings.gap
    return environment.get_template("model_card.md.jinja").render(
        run=inputs.run,
        dataset=_dataset(extras),
        metrics=[
            ("log loss (nats), nested", "log_loss", round(stack["log_loss"], 5)),
            ("accuracy", "accuracy", round(stack["accuracy"], 5)),
            ("macro F1", "f1", round(stack["macro_f1"], 5)),
            ("expected calibration error", "ece", round(stack["ece"], 5)),
        ],
        made=extras.made,
        bases=[_plain(name) for name in inputs.bases],
        shipped=inputs.scores["shipped"],
        backbones=sorted(
            {_plain(base.metadata["backbone"]) for base in inputs.bases.values() if _is_model(base.metadata)}
        ),
        facts=[(_plain(name), _plain(value)) for name, value in extras.facts],
        lead=f"{number(votes['lead'], sign=True)} ± {number(1.96 * votes['standard_error'])}",
        style=percent(float(style["share"].iloc[0]), 0) if len(style) else "",
        alerts=[_plain(alert) for alert in alerts],
        battles=f"{findings.battles:,}",
        prompts=f"{findings.profile.distinct_prompts:,}",
        source=_plain(_dataset(extras)),
        scored=f"{findings.scored:,}",
        rows=[_row(name, findings.models[name]) for name in names],
        seconds=_seconds(inputs),
    )


def _plain(text: object) -> str:
    """Text as one line of Markdown that is nothing but text."""
    return "".join(f"\\{c}" if c in _MARKS else c for c in clean(str(text)))


def _dataset(extras: Extras) -> str:
    return dict(extras.facts).get("training battles", "voted battles")


def _is_model(metadata: dict[str, Any]) -> bool:
    """Whether a base began as a pretrained model; predictions made elsewhere do not say."""
    return metadata.get("device") != "elsewhere" and metadata.get("backbone") not in (None, "tfidf")


def _row(name: str, figures: dict[str, Any]) -> list[str]:
    return [
        _plain(name),
        number(figures["log_loss"]),
        between(figures["log_loss_interval"]),
        percent(figures["accuracy"]),
        *(number(figures[key]) for key in ("macro_f1", "ece", "chance_ece")),
    ]


def _seconds(inputs: Inputs) -> str:
    told = []
    for name, table in {**inputs.bases, STACK: inputs.stack}.items():
        seconds = table.metadata.get("train_seconds")
        if seconds is not None:
            took = duration(seconds + (table.metadata.get("inference_seconds") or 0.0))
            told.append(f"{_plain(name)} {took} on {_plain(table.metadata.get('device', 'an unknown device'))}")
    return "; ".join(told) or "not known, as the predictions were made elsewhere"
