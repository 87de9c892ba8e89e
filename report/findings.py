"""Everything a report states of a run, computed once: for the page, for the figures and as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.schema import labels
from oof.metrics import paired_standard_error, row_losses
from oof.probabilities import class_count
from oof.table import STACK
from report import exploration
from report.bias import base_position, verbosity, vote_position
from report.calibration import reliability
from report.inputs import Inputs
from report.mistakes import confident_mistakes
from report.scores import class_scores, confusion_matrix, model_scores

MISTAKES = 20


@dataclass(frozen=True)
class Findings:
    """The report of a run; everything but the exploration is on the battles that every base and the stack cover.

    classes: 2 where no battle can be a tie, else 3. models: figures of the stack and of each base. confusion,
    reliability: by the same names. position: by base, and the votes'. appearances, pairings, win_rates: of all battles
    whose models are named.
    """

    battles: int
    scored: int
    classes: int
    models: Mapping[str, dict[str, Any]]
    confusion: Mapping[str, np.ndarray]
    reliability: Mapping[str, pd.DataFrame]
    votes: Mapping[str, float]
    position: Mapping[str, dict[str, float | None]]
    verbosity: pd.DataFrame
    mistakes: pd.DataFrame
    named: int
    appearances: pd.Series
    pairings: pd.DataFrame
    win_rates: pd.DataFrame


def find(inputs: Inputs) -> Findings:
    """Computes the findings; raises BadInput when no battle is covered by every base and the stack."""
    tables = {STACK: inputs.stack, **inputs.bases}
    rows = np.logical_and.reduce([predictions.covered for predictions in tables.values()])
    if not rows.any():
        raise BadInput(f"oof/{inputs.run}: no fold is covered by every base and the stack; run `make stack` again")
    votes, groups = labels(inputs.battles)[rows], inputs.folds["group"].to_numpy()[rows]
    probabilities = {name: predictions.probabilities[rows] for name, predictions in tables.items()}
    stack = probabilities[STACK]
    bases = {name: values for name, values in probabilities.items() if name != STACK}
    classes = class_count(stack)
    confusion = {name: confusion_matrix(values, votes)[:classes, :classes] for name, values in probabilities.items()}
    models = {
        name: _figures(values, votes, groups)
        | {"covered": int(tables[name].covered.sum()), "classes": class_scores(confusion[name], classes)}
        for name, values in probabilities.items()
    }
    known = exploration.named(inputs.battles)
    return Findings(
        battles=len(rows),
        scored=int(rows.sum()),
        classes=classes,
        models=models,
        confusion=confusion,
        reliability={name: reliability(values, votes) for name, values in probabilities.items()},
        votes=vote_position(votes, groups),
        position={name: base_position(predictions, rows) for name, predictions in tables.items()},
        verbosity=verbosity(inputs.lengths[rows], votes, stack, groups),
        mistakes=confident_mistakes(inputs.folds[rows], stack, bases, votes, MISTAKES),
        named=len(known),
        appearances=exploration.appearances(known),
        pairings=exploration.pairings(known),
        win_rates=exploration.win_rates(known),
    )


def to_json(inputs: Inputs, findings: Findings) -> dict[str, Any]:
    """The findings as JSON values, with the stacker's own metrics.json under `stacker`; unknown figures are None."""
    return {
        "run": inputs.run,
        "battles": findings.battles,
        "scored": findings.scored,
        "classes": findings.classes,
        "models": {
            name: figures | {"confusion": findings.confusion[name].tolist()}
            for name, figures in findings.models.items()
        },
        "position": {"votes": dict(findings.votes), "models": dict(findings.position)},
        "verbosity": _records(findings.verbosity),
        "exploration": {
            "named_battles": findings.named,
            "win_rates": _records(findings.win_rates),
            "pairings": len(findings.pairings),
        },
        "stacker": inputs.scores,
    }


def _figures(probabilities: np.ndarray, votes: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    losses, scores = row_losses(probabilities, votes), model_scores(probabilities, votes)
    return {
        "rows": len(votes),
        "log_loss": scores.pop("log_loss"),
        # Of the loss itself; the one of a difference to the stack, which is smaller, stands in the stacker's figures.
        "log_loss_standard_error": paired_standard_error(losses, np.zeros(len(losses)), groups),
        **scores,
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = table.to_dict("records")
    return [{str(key): None if value != value else value for key, value in row.items()} for row in rows]
