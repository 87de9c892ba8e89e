"""Level-1 candidates without features: prior, best single base, equal blend, log-loss-optimal blend.

All four are one model, a logarithmic pool (Genest and Zidek 1986): the weighted sum of the bases' log-probabilities
plus one bias per class. They differ in what is fitted. Each is fitted on the rows it is given and on nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from battles.errors import BadInput
from models.stacking.logistic_solver import convex_weights
from models.stacking.meta_features import Meta
from oof.metrics import log_loss
from oof.probabilities import FLOOR, softmax


@dataclass(frozen=True)
class Pool:
    """Logits = Σ weight · log-probabilities + bias; `weights` by base name, `bias` (3,)."""

    weights: Mapping[str, float]
    bias: np.ndarray

    def logits(self, meta: Meta) -> np.ndarray:
        """Centred logits (n, 3); raises BadInput when the bases are not those of the fit."""
        if meta.bases != tuple(self.weights):
            raise BadInput(
                f"stack: bases {meta.bases} differ from {list(self.weights)} of the fit; run the stack again"
            )
        logits = np.tensordot(np.array(list(self.weights.values())), meta.logs, axes=1) + self.bias
        return np.asarray(logits)

    def to_json(self) -> dict[str, Any]:
        return {"weights": dict(self.weights), "bias": self.bias.tolist()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Pool":
        return cls(value["weights"], np.array(value["bias"]))


def prior(meta: Meta, labels: np.ndarray, position: bool) -> Pool:
    """The class frequencies; without `position` both winners get their mean."""
    counts = np.bincount(labels, minlength=3) + FLOOR
    logs = np.log(counts / counts.sum())
    if not position:
        logs[:2] = np.log((counts[0] + counts[1]) / 2 / counts.sum())
    return Pool(dict.fromkeys(meta.bases, 0.0), logs - logs.mean())


def best_base(meta: Meta, labels: np.ndarray) -> Pool:
    """The base with the lowest log loss, as it is."""
    losses = {name: log_loss(softmax(logs), labels) for name, logs in zip(meta.bases, meta.logs, strict=True)}
    best = min(losses, key=losses.__getitem__)
    return Pool({name: float(name == best) for name in meta.bases}, np.zeros(3))


def equal_blend(meta: Meta) -> Pool:
    """Every base at the same weight, nothing fitted."""
    return Pool(dict.fromkeys(meta.bases, 1 / len(meta.bases)), np.zeros(3))


def optimal_blend(meta: Meta, labels: np.ndarray, position: bool) -> Pool:
    """Non-negative weights, temperature (their sum) and class biases of the lowest log loss.

    With `position` the winners' biases may differ: a constant preference for the first or second place.
    """
    weights, bias = convex_weights(meta.logs, labels, position)
    return Pool(dict(zip(meta.bases, weights.tolist(), strict=True)), bias)
