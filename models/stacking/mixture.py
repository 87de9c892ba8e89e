"""Candidates that pool other candidates: the average at fixed weights, and the mix, whose weights are fitted."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from models.stacking.blend import convex_weights
from models.stacking.inner_cv import MetaModel
from models.stacking.level1_data import Level1Data
from models.stacking.meta_features import Meta
from models.stacking.selection import leads
from oof.metrics import row_losses
from oof.probabilities import centred, softmax

# Equal weights: with a thousand battles they beat fitted ones. What other weights and penalties give:
# benchmarks/constants.py.
WEIGHTS: Mapping[str, float] = {
    "regression": 0.2,
    "features": 0.2,
    "booster": 0.0,
    "handcrafted": 0.2,
    "forest": 0.2,
    "kernel": 0.2,
}
# The booster's margin is the regression, which therefore needs no weight of its own here.
WEIGHTS_WITHOUT_FEATURES: Mapping[str, float] = {"regression": 0.0, "booster": 0.8, "forest": 0.2}
# The mix's weights are shrunk by a ridge penalty of the summed log loss: to those of the average, or to others that are
# better (`_other_centres`).
MIX_PENALTY = 200.0


@dataclass(frozen=True)
class Mixture:
    """A logarithmic pool of fitted candidates: Σ weight · log-probabilities + bias (3,)."""

    members: Mapping[str, MetaModel]
    weights: np.ndarray
    bias: np.ndarray

    def logits(self, meta: Meta) -> np.ndarray:
        """Logits (n, 3)."""
        return self.pool(np.stack([centred(model.logits(meta)) for model in self.members.values()]))

    def pool(self, logs: np.ndarray) -> np.ndarray:
        """Logits (n, 3) from the members' centred log-probabilities (members, n, 3)."""
        return np.asarray(np.tensordot(self.weights, logs, axes=1) + self.bias)


def mix_weights(
    logs: np.ndarray,
    data: Level1Data,
    average: Mapping[str, float],
    symmetric: bool,
    penalty: float = MIX_PENALTY,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (members,) and bias (3,) of the mix on n battles, and its cross-fitted logits (n, 3).

    logs (members, n, 3): the members' out-of-fold log-probabilities, centred; average: the weight of each member in the
    average. Which weights the penalty shrinks to is decided by cross-validation on the same folds: the average's,
    unless one of `_other_centres` is better by more than a paired standard error.
    """
    usual, *others = (
        _cross_fitted(logs, data, symmetric, centre, penalty) for centre in (dict(average), *_other_centres(average))
    )
    best = min(others, key=lambda one: one.losses.mean())
    chosen = best if leads(best.losses, usual.losses, data.groups, 1) else usual
    weights, bias = convex_weights(logs, data.labels, symmetric, chosen.centre, penalty)
    return weights, bias, chosen.logits


def _other_centres(average: Mapping[str, float]) -> Iterator[Mapping[str, float]]:
    """The average without the kernel, which does not help everywhere, and the regression on the bases alone."""
    if average.get("kernel"):
        rest = 1 - average["kernel"]
        yield {name: 0.0 if name == "kernel" else weight / rest for name, weight in average.items()}
    yield {name: float(name == "regression") for name in average}


class _CrossFitted(NamedTuple):
    """A mix shrunk to the weights `centre` (members,): its cross-fitted logits (n, 3) and their losses (n,)."""

    centre: np.ndarray
    logits: np.ndarray
    losses: np.ndarray


def _cross_fitted(
    logs: np.ndarray, data: Level1Data, symmetric: bool, to: Mapping[str, float], penalty: float
) -> _CrossFitted:
    centre, logits = np.array([*to.values()]), np.zeros((len(data), 3))
    for fold in np.unique(data.folds):
        held = data.folds == fold
        # With a single fold there are no other rows; the mix is not chosen then.
        rest = ~held if (~held).any() else held
        weights, bias = convex_weights(logs[:, rest], data.labels[rest], symmetric, centre, penalty)
        logits[held] = np.tensordot(weights, logs[:, held], axes=1) + bias
    return _CrossFitted(centre, logits, row_losses(softmax(logits), data.labels))
