"""How much of what can be known is known: log loss against the true vote probabilities of the embedded sample.

Only the sample has a truth. It is read after the submission is written, by what prints and draws; no feature,
base model or stacker sees it.
"""

import numpy as np

from oof.metrics import SMALLEST


def expected_log_loss(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Mean log loss (nats) that (n, 3) probabilities have over votes drawn from the true ones, (n, 3).

    Unlike the loss on the votes that were drawn it has no sampling error of theirs.
    """
    return float(-(truth * np.log(np.maximum(probabilities, SMALLEST))).sum(axis=1).mean())


def share_closed(loss: float, prior: float, optimal: float) -> float:
    """The share of the gap between the prior's and the Bayes-optimal log loss that `loss` closes: 0 to 1."""
    return (prior - loss) / (prior - optimal)
