"""How much of what can be known is known: log loss against the true vote probabilities of the embedded sample.

Only the sample has a truth. It is read after the submission is written, by what prints and draws; no feature,
base model or stacker sees it.
"""

from collections.abc import Mapping
from typing import NamedTuple

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


class Reached(NamedTuple):
    """What a model reaches of what can be known: expected log loss (nats), and the share of the gap it closes."""

    loss: float
    share: float


def reached(predictions: Mapping[str, np.ndarray], truth: np.ndarray, shares: np.ndarray) -> dict[str, Reached]:
    """Model → what its probabilities (n, 3) reach; `prior`, the votes' shares (3,), comes first."""
    prior = np.broadcast_to(shares, truth.shape)
    worst, best = expected_log_loss(prior, truth), expected_log_loss(truth, truth)
    losses = {
        name: expected_log_loss(values, truth)
        for name, values in {"prior": prior, **predictions, "Bayes-optimal": truth}.items()
    }
    return {name: Reached(loss, share_closed(loss, worst, best)) for name, loss in losses.items()}
