"""Candidates that pool other candidates: the average at fixed weights, and the mix, whose weights are fitted."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from models.stacking.blend import convex_weights
from models.stacking.inner_cv import MetaModel
from models.stacking.level1_data import Level1Data
from models.stacking.meta_features import Meta
from oof.metrics import log_loss
from oof.probabilities import centred, softmax

# Linear, trees and kernels, 2 : 2 : 1: with a thousand battles fixed weights beat fitted ones. What other weights and
# penalties give: benchmarks/constants.py.
WEIGHTS: Mapping[str, float] = {"regression": 0.2, "features": 0.2, "booster": 0.0, "handcrafted": 0.4, "kernel": 0.2}
WEIGHTS_WITHOUT_FEATURES: Mapping[str, float] = {"regression": 0.2, "booster": 0.8}
# The mix's weights are shrunk by a ridge penalty of the summed log loss: to those of the average or, where the bases
# are far better than the features, to the regression on the bases alone.
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
    average. Which weights the penalty shrinks to is decided by cross-validation on the same folds.
    """
    alone = [float(name == "regression") for name in average]
    tried = []
    for centre in (np.array([*average.values()]), np.array(alone)):
        logits = np.zeros((len(data), 3))
        for fold in np.unique(data.folds):
            held = data.folds == fold
            # With a single fold there are no other rows; the mix is not chosen then.
            rest = ~held if (~held).any() else held
            weights, bias = convex_weights(logs[:, rest], data.labels[rest], symmetric, centre, penalty)
            logits[held] = np.tensordot(weights, logs[:, held], axes=1) + bias
        tried.append((log_loss(softmax(logits), data.labels), logits, centre))
    _, logits, centre = min(tried, key=lambda one: one[0])
    weights, bias = convex_weights(logs, data.labels, symmetric, centre, penalty)
    return weights, bias, logits
