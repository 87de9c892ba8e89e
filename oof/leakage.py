"""Bases that seem to have been trained on the rows they predict: what gives them away, and what does not.

Predictions of rows that a model was trained on look too good, and a stacker believes them: its own figure becomes
worthless, and on new rows it leans on a model that is not that good. Two signs together are taken as proof. The
base is far ahead of every other one; and it is too modest: the votes agree with it more than its probabilities
say, as the memory of a vote shifts a prediction towards it without making the model as sure as it is right. Honest
models that are far ahead are calibrated or over-confident.

Limits: one base alone cannot be judged; a little overfitting is not far ahead; memory that was sharpened to look
calibrated passes; an honest base that is both far ahead and modest is refused, and may be let in.
"""

from collections.abc import Mapping

import numpy as np
from scipy.optimize import minimize_scalar

from oof.metrics import log_loss
from oof.probabilities import log_probabilities, softmax

# Nats ahead of the next base. Of two fine-tuned language models one is ahead by 0.01, of TF-IDF by 0.11.
AHEAD = 0.1
# What the log-probabilities must be multiplied by to fit the votes. Language models need 0.75 to 1.05, those that
# average two response orders a little more.
MODEST = 1.2


def sharpening(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The factor on log-probabilities (n, 3) of the lowest log loss: the inverse temperature (Guo et al. 2017)."""
    logs = log_probabilities(probabilities)
    found = minimize_scalar(lambda factor: log_loss(softmax(factor * logs), labels), bounds=(0.1, 5), method="bounded")
    return float(found.x)


def suspects(probabilities: Mapping[str, np.ndarray], labels: np.ndarray) -> dict[str, str]:
    """Base → the reason for which it is suspected; (n, 3) each, on the same rows. With one base nothing is said."""
    losses = {name: log_loss(values, labels) for name, values in probabilities.items()}
    found = {}
    for name, loss in losses.items():
        others = [other for key, other in losses.items() if key != name]
        if not others or min(others) - loss < AHEAD:
            continue
        factor = sharpening(probabilities[name], labels)
        if factor >= MODEST:
            found[name] = (
                f"its log loss {loss:.4f} is {min(others) - loss:.2f} below that of the next base, and the votes agree "
                f"with it more than it says (its log-probabilities fit best multiplied by {factor:.2f})"
            )
    return found
