"""What a reader must know before believing the figures, each in one sentence."""

from collections.abc import Iterator

import numpy as np

from battles.schema import MODELS, WINNERS, labels
from oof.metrics import calibrated_error
from oof.table import STACK
from report.exploration import UNKNOWN
from report.figures_as_text import VOTES, number, percent
from report.findings import Findings
from report.inputs import PRIOR, Extras, Inputs

FEW_BATTLES = 1000
_UNKNOWN_SHARE = 0.1
_REPEATED_SHARE = 0.2
_SIGMAS = 3.0


def alerts(inputs: Inputs, findings: Findings, extras: Extras) -> list[str]:
    """The sentences, the gravest first; none where nothing is unusual."""
    return [*_of_scores(inputs, findings, extras), *_of_battles(inputs, findings), *_of_test(extras)]


def _of_scores(inputs: Inputs, findings: Findings, extras: Extras) -> Iterator[str]:
    if findings.scored < extras.rows:
        yield (
            f"Only {findings.scored:,} of the table's {extras.rows:,} rows are predicted by every base. Everything "
            "here is of those rows."
        )
    if findings.scored < findings.battles:
        yield (
            f"Only {findings.scored:,} of {findings.battles:,} battles are scored: not every base has run all folds. "
            "Every figure of a prediction is of the scored battles."
        )
    stack, prior = findings.models[STACK], findings.losses[PRIOR]
    if stack["log_loss"] >= prior.mean():
        yield (
            f"The stack's log loss {number(stack['log_loss'])} is no lower than that of the vote frequencies, "
            f"{number(float(prior.mean()))}: nothing useful was learnt."
        )
    worse = [name for name in findings.bases if findings.models[name]["log_loss"] > prior.mean()]
    if worse:
        yield f"Worse than the vote frequencies alone: {', '.join(worse)}."
    mean, deviation = calibrated_error(inputs.stack.probabilities[findings.rows])
    if stack["ece"] > mean + _SIGMAS * deviation:
        yield (
            f"The stack is not calibrated: its calibration error {number(stack['ece'])} is beyond the "
            f"{number(mean)} ± {number(deviation)} that chance gives."
        )


def _of_battles(inputs: Inputs, findings: Findings) -> Iterator[str]:
    if findings.scored < FEW_BATTLES:
        yield (
            f"{findings.scored:,} battles are few: the stack's log loss is only known to ± "
            f"{number(1.96 * findings.models[STACK]['log_loss_standard_error'], 3)}."
        )
    missing = np.bincount(labels(inputs.battles), minlength=len(WINNERS))[: findings.classes] == 0
    if missing.any():
        absent = [VOTES[name] for name, none in zip(WINNERS, missing, strict=False) if none]
        yield f"No battle has the vote {' or '.join(absent)}."
    if set(MODELS) <= set(inputs.battles.columns):
        names = inputs.battles[list(MODELS)].to_numpy(dtype=object)
        share = float((names == UNKNOWN).any(axis=1).mean())
        if share > _UNKNOWN_SHARE:
            yield (
                f"{percent(share, 0)} of the battles name a model “{UNKNOWN}”; they are left out of what is said of "
                "models."
            )
    repeated = 1 - findings.profile.repeated.get("once", 0) / max(1, findings.battles)
    if repeated > _REPEATED_SHARE:
        yield (
            f"{percent(repeated, 0)} of the battles share their prompt with another; "
            f"{findings.profile.distinct_prompts:,} prompts are what intervals are computed from."
        )


def _of_test(extras: Extras) -> Iterator[str]:
    if extras.drift is not None and extras.drift.noticeable:
        words = extras.drift.words()
        yield f"{words[0].upper()}{words[1:]}."
