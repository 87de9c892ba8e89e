"""Everything a report states of a run, computed once: for the page, for the figures and as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.schema import labels
from features.drift import auc
from oof.metrics import paired_standard_error, row_losses
from oof.probabilities import class_count
from oof.table import STACK
from report import exploration, ratings
from report.agreement import agreement, by_fold, second_order
from report.bias import base_position, verbosity, vote_position
from report.calibration import reliability
from report.inputs import PRIOR, Inputs
from report.intervals import bootstrap, interval
from report.ratings import Ratings
from report.scores import class_scores, confusion_matrix, model_scores
from report.scripts import scripts
from report.segments import losses_by, segments
from report.style_share import style_probabilities


@dataclass(frozen=True)
class Findings:
    """The report of a run; what is said of predictions is of the battles that every base and the stack cover.

    rows: the mask (battles,) of these. classes: 2 where no battle can be a tie, else 3. models: figures of the stack
    and of each base. losses: theirs and the prior's, by battle (scored,). confusion, reliability: by the same names.
    position, second_order: by base, and the votes'.
    kinds: how battles are told apart (`report.segments`), and segments: the losses by them. gap: how much of the way
    from the prior to the stack simple things go. The rest is of all battles, or of those whose models are named.
    """

    rows: np.ndarray
    classes: int
    models: Mapping[str, dict[str, Any]]
    losses: Mapping[str, np.ndarray]
    confusion: Mapping[str, np.ndarray]
    reliability: Mapping[str, pd.DataFrame]
    votes: Mapping[str, float]
    position: Mapping[str, dict[str, float | None]]
    second_order: Mapping[str, dict[str, Any]]
    agreement: pd.DataFrame
    folds: pd.DataFrame
    verbosity: pd.DataFrame
    kinds: Mapping[str, np.ndarray]
    segments: pd.DataFrame
    gap: pd.DataFrame
    profile: exploration.Profile
    named: int
    appearances: pd.Series
    pairings: pd.DataFrame
    win_rates: pd.DataFrame
    ratings: Ratings | None
    styled_ratings: Ratings | None

    @property
    def battles(self) -> int:
        """All voted battles of the run."""
        return len(self.rows)

    @property
    def scored(self) -> int:
        """The battles that every base and the stack cover."""
        return int(self.rows.sum())

    @property
    def bases(self) -> list[str]:
        """The bases, the lowest log loss first."""
        return sorted((name for name in self.models if name != STACK), key=lambda name: self.models[name]["log_loss"])


def find(inputs: Inputs) -> Findings:
    """Computes the findings; raises BadInput when no battle is covered by every base and the stack."""
    tables, rows = {STACK: inputs.stack, **inputs.bases}, inputs.covered
    if not rows.any():
        raise BadInput(f"oof/{inputs.run}: no fold is covered by every base and the stack; run `make stack` again")
    every_vote = labels(inputs.battles)
    votes, folds = every_vote[rows], inputs.folds[rows]
    groups, fold = folds["group"].to_numpy(), folds["fold"].to_numpy()
    probabilities = {name: predictions.probabilities[rows] for name, predictions in tables.items()}
    losses = {name: row_losses(values, votes) for name, values in probabilities.items()}
    classes = class_count(probabilities[STACK])
    losses[PRIOR] = _prior_losses(votes, fold, classes)
    confusion = {name: confusion_matrix(values, votes)[:classes, :classes] for name, values in probabilities.items()}
    models = _models(probabilities, losses, votes, groups)
    for name, figures in models.items():
        figures |= {"covered": int(tables[name].covered.sum()), "classes": class_scores(confusion[name], classes)}
    known = exploration.named(inputs.battles)
    style = ratings.style_differences(inputs.features)
    plain, styled = _ratings(inputs, known, style)
    prompts = None if inputs.prompts is None else scripts(inputs.prompts)
    strength = {} if plain is None else dict(zip(plain.models["model"], plain.models["rating"], strict=True))
    kinds = segments(inputs.battles, inputs.folds, inputs.features, prompts, strength)
    best = min((name for name in models if name != STACK), key=lambda name: models[name]["log_loss"])
    return Findings(
        rows=rows,
        classes=classes,
        models=models,
        losses=losses,
        confusion=confusion,
        reliability={name: reliability(values, votes) for name, values in probabilities.items()},
        votes=vote_position(votes, groups),
        position={name: base_position(predictions, rows) for name, predictions in tables.items()},
        second_order={
            name: change
            for name, predictions in inputs.bases.items()
            if (change := second_order(predictions, rows, every_vote, inputs.folds["group"].to_numpy())) is not None
        },
        agreement=agreement({name: probabilities[name] for name in inputs.bases}),
        folds=by_fold({name: losses[name] for name in (STACK, best, PRIOR)}, fold),
        verbosity=verbosity(inputs.lengths[rows], votes, probabilities[STACK], groups),
        kinds=kinds,
        segments=losses_by(
            {kind: segment[rows] for kind, segment in kinds.items()},
            losses[STACK],
            {PRIOR: losses[PRIOR], "best base": losses[best]},
            groups,
        ),
        gap=_gap(None if style is None else style[rows], probabilities, losses[PRIOR], best, votes, fold),
        profile=exploration.profile(inputs.folds, inputs.features, prompts),
        named=len(known),
        appearances=exploration.appearances(known),
        pairings=exploration.pairings(known),
        win_rates=exploration.win_rates(known),
        ratings=plain,
        styled_ratings=styled,
    )


def _prior_losses(votes: np.ndarray, fold: np.ndarray, classes: int) -> np.ndarray:
    """Losses (n,) of the vote frequencies of the other folds, smoothed by one vote a class."""
    losses = np.zeros(len(votes))
    for number in np.unique(fold):
        held = fold == number
        counts = np.bincount(votes[~held], minlength=3)[:classes] + 1
        losses[held] = -np.log(counts / counts.sum())[votes[held]]
    return losses


def _models(
    probabilities: Mapping[str, np.ndarray], losses: Mapping[str, np.ndarray], votes: np.ndarray, groups: np.ndarray
) -> dict[str, dict[str, Any]]:
    names = list(probabilities)
    drawn = bootstrap(np.stack([losses[name] for name in (*names, PRIOR)], axis=1), groups)
    stack = names.index(STACK)
    models = {}
    for at, name in enumerate(names):
        difference = losses[name] - losses[STACK]
        models[name] = {
            "rows": len(votes),
            **model_scores(probabilities[name], votes),
            "log_loss_standard_error": paired_standard_error(losses[name], np.zeros(len(votes)), groups),
            "log_loss_interval": interval(drawn[:, at]),
            "difference": float(difference.mean()),
            "difference_interval": interval(drawn[:, at] - drawn[:, stack]),
            "decisive_auc": _decisive_auc(probabilities[name], votes),
        }
    return models


def _decisive_auc(probabilities: np.ndarray, votes: np.ndarray) -> float | None:
    """AUC of A's share of what is not a tie, over the battles that were none; None where all went one way."""
    decisive = votes < 2
    a, b = probabilities[decisive, 0], probabilities[decisive, 1]
    won = (votes[decisive] == 0).astype(np.int64)
    if len(set(won.tolist())) < 2:
        return None
    return auc(np.log(np.maximum(a, 1e-15)) - np.log(np.maximum(b, 1e-15)), won)


def _ratings(inputs: Inputs, known: pd.DataFrame, style: np.ndarray | None) -> tuple[Ratings | None, Ratings | None]:
    if not len(known):
        return None, None
    votes, groups = labels(known), inputs.folds["group"].to_numpy()[known.index]
    plain = ratings.rate(known, votes, groups, None)
    if plain is None or style is None:
        return plain, None
    return plain, ratings.rate(known, votes, groups, style[known.index])


def _gap(
    style: np.ndarray | None,
    probabilities: Mapping[str, np.ndarray],
    prior: np.ndarray,
    best: str,
    votes: np.ndarray,
    fold: np.ndarray,
) -> pd.DataFrame:
    """Columns `what, log_loss, share, decisive_auc`: the share of the way from the prior's loss to the stack's; empty
    without style. Everything is cross-fitted on the same folds.
    """
    columns = ["what", "log_loss", "share", "decisive_auc"]
    if style is None:
        return pd.DataFrame(columns=columns)
    reached = {
        "length alone": style_probabilities(style[:, :1], votes, fold),
        "style: length, lists, headings, bold": style_probabilities(style, votes, fold),
        f"best base: {best}": probabilities[best],
        "everything: the stack": probabilities[STACK],
    }
    loss = {what: float(row_losses(values, votes).mean()) for what, values in reached.items()}
    start = float(prior.mean())
    gain = start - loss["everything: the stack"]
    rows = [
        (what, loss[what], (start - loss[what]) / gain if gain > 0 else np.nan, _decisive_auc(values, votes))
        for what, values in reached.items()
    ]
    return pd.DataFrame(rows, columns=columns)


def to_json(inputs: Inputs, findings: Findings) -> dict[str, Any]:
    """The findings as JSON values, with the stacker's own metrics.json under `stacker`; unknown figures are None."""
    return {
        "run": inputs.run,
        "battles": findings.battles,
        "scored": findings.scored,
        "classes": findings.classes,
        "models": {
            name: figures
            | {
                "confusion": findings.confusion[name].tolist(),
                "reliability": records(findings.reliability[name]),
                "log_loss_interval": list(figures["log_loss_interval"]),
                "difference_interval": list(figures["difference_interval"]),
            }
            for name, figures in findings.models.items()
        },
        "position": {"votes": dict(findings.votes), "models": dict(findings.position)},
        "second_order": dict(findings.second_order),
        "agreement": records(findings.agreement),
        "folds": records(findings.folds),
        "segments": records(findings.segments),
        "verbosity": records(findings.verbosity),
        "style": records(findings.gap),
        "exploration": {
            **asdict(findings.profile),
            "named_battles": findings.named,
            "appearances": {str(name): int(count) for name, count in findings.appearances.items()},
            "win_rates": records(findings.win_rates),
            "pairings": records(findings.pairings),
            "ratings": _ratings_json(findings.ratings),
            "ratings_style_controlled": _ratings_json(findings.styled_ratings),
        },
        "stacker": inputs.scores,
    }


def _ratings_json(rated: Ratings | None) -> dict[str, Any] | None:
    if rated is None:
        return None
    return {
        "models": records(rated.models),
        "style": records(rated.style),
        "tie_odds": rated.tie,
        "log_loss_in_sample": rated.log_loss,
    }


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as JSON values; what is not a number is None."""
    rows = table.to_dict("records")
    return [{str(key): None if value != value else value for key, value in row.items()} for row in rows]
