"""Detects bases that were trained on the rows they predict.

Predictions of a model's own training rows look too good, and a stacker believes them: its own log loss becomes
worthless, and on new rows it relies on a model that is not that good. Two signs together are taken as proof. The base
is far ahead of every other; and it is under-confident: the votes agree with it more than its probabilities say, as a
remembered vote moves a prediction towards it but leaves it less sure than it is right. Honest models that are far ahead
are calibrated or over-confident. Both signs come by chance where there are few battles, so that both must be several of
their standard errors.

Limits: one base alone cannot be judged; slight overfitting is not far ahead; a leak that was sharpened to look
calibrated passes, and so does one on few battles; an honest base that is both far ahead and under-confident is refused,
unless the user lets it in.
"""

from collections.abc import Mapping

import numpy as np
from scipy.optimize import minimize_scalar

from battles.errors import BadInput
from oof.metrics import log_loss, paired_standard_error, row_losses
from oof.probabilities import class_count, log_probabilities, softmax

# Nats ahead of the next base. Of two fine-tuned language models one is ahead by 0.01, and by 0.11 of TF-IDF.
AHEAD = 0.1
# The factor on log-probabilities that fits the votes best. Language models need 0.75 to 1.05, and a little more where
# two response orders are averaged.
UNDER_CONFIDENT = 1.2
# Fewer battles are no proof; nor is a lead of fewer standard errors of itself, or a factor that is as near to 1.
LEAST_BATTLES, STANDARD_ERRORS = 30, 3.0


def sharpening(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The factor on log-probabilities (n, 3) with the lowest log loss of the votes (n,), within 0.1 to 5.

    It is the inverse of the temperature of Guo et al. (2017, section 4.2).
    """
    result = minimize_scalar(
        lambda factor: _sharpened_loss(probabilities, labels, factor), bounds=(0.1, 5), method="bounded"
    )
    return float(result.x)


def _sharpened_loss(probabilities: np.ndarray, labels: np.ndarray, factor: float) -> float:
    # A class without any probability stays without.
    logs = log_probabilities(probabilities)[:, : class_count(probabilities)]
    return log_loss(softmax(factor * logs), labels)


def suspects(probabilities: Mapping[str, np.ndarray], labels: np.ndarray) -> dict[str, str]:
    """Base → why it is suspected. probabilities: base → (n, 3) on the same rows, with votes (n,). {} for one base."""
    if len(probabilities) < 2 or len(labels) < LEAST_BATTLES:
        return {}
    losses = {name: row_losses(values, labels) for name, values in probabilities.items()}
    means = {name: float(rows.mean()) for name, rows in losses.items()}
    reasons = {}
    for name, loss in means.items():
        following = min((other for other in means if other != name), key=means.__getitem__)
        noise = STANDARD_ERRORS * paired_standard_error(losses[name], losses[following])
        if means[following] - loss < max(AHEAD, noise):
            continue
        factor = sharpening(probabilities[name], labels)
        # Twice the gain in log-likelihood is the square of the distance from 1 in standard errors (Wilks 1938).
        gain = loss - _sharpened_loss(probabilities[name], labels, factor)
        if factor >= UNDER_CONFIDENT and 2 * len(labels) * gain >= STANDARD_ERRORS**2:
            reasons[name] = (
                f"its log loss {loss:.4f} is {means[following] - loss:.2f} below that of the next base, and the votes "
                f"agree with it more than it says (its log-probabilities fit best multiplied by {factor:.2f})"
            )
    return reasons


def refuse_suspects(probabilities: Mapping[str, np.ndarray], labels: np.ndarray) -> None:
    """Raises BadInput for the first of `suspects`.

    Only for predictions made elsewhere: a run's own bases are out-of-fold by construction.
    """
    for name, reason in suspects(probabilities, labels).items():
        raise BadInput(
            f"base {name}: {reason}: as predictions of rows that it was trained on; leave it out of BASES, or, if its "
            "predictions are out-of-fold, give ALLOW_SUSPECT=1"
        )
