"""Candidates without features: the prior, the best single base, the equal blend and the optimal blend.

All four are logarithmic pools (Genest and Zidek 1986): a weighted sum of the bases' log-probabilities plus one bias
per class. They differ in which of the two is fitted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from battles.errors import BadInput
from models.stacking.contrasts import UNDERFLOW, to_logits
from models.stacking.meta_features import Meta
from oof.metrics import log_loss
from oof.probabilities import FLOOR, softmax

# Relative decrease of the loss at which L-BFGS stops.
DECREASE = 1e-12


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


def prior(meta: Meta, labels: np.ndarray, symmetric: bool) -> Pool:
    """The class frequencies of the votes (n,); if `symmetric`, A and B both get the mean of theirs."""
    counts = np.bincount(labels, minlength=3) + FLOOR
    logs = np.log(counts / counts.sum())
    if symmetric:
        logs[:2] = np.log((counts[0] + counts[1]) / 2 / counts.sum())
    return Pool(dict.fromkeys(meta.bases, 0.0), logs - logs.mean())


def best_base(meta: Meta, labels: np.ndarray) -> Pool:
    """The base with the lowest log loss, unchanged."""
    losses = {name: log_loss(softmax(logs), labels) for name, logs in zip(meta.bases, meta.logs, strict=True)}
    best = min(losses, key=losses.__getitem__)
    return Pool({name: float(name == best) for name in meta.bases}, np.zeros(3))


def equal_blend(meta: Meta) -> Pool:
    """The mean of all bases' log-probabilities; nothing is fitted."""
    return Pool(dict.fromkeys(meta.bases, 1 / len(meta.bases)), np.zeros(3))


def optimal_blend(meta: Meta, labels: np.ndarray, symmetric: bool) -> Pool:
    """The pool of the lowest log loss: weights as in `convex_weights`, and class biases."""
    weights, bias = convex_weights(meta.logs, labels, symmetric)
    return Pool(dict(zip(meta.bases, weights.tolist(), strict=True)), bias)


def convex_weights(
    log_probabilities: np.ndarray,
    labels: np.ndarray,
    symmetric: bool,
    toward: np.ndarray | None = None,
    penalty: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Non-negative weights (models,) and class biases (3,) of the logarithmic pool with the lowest log loss.

    log_probabilities (models, n, 3), labels (n,). The sum of the weights is the pool's inverse temperature: 1 keeps the
    models' sharpness. Unless `symmetric`, the biases of A and B may differ: a constant preference for one place.
    `penalty`, a ridge penalty of the summed log loss, shrinks the weights to `toward` (models,), by default equal ones.
    """
    models, rows, _ = log_probabilities.shape
    votes = np.eye(3)[labels]
    directions = to_logits(np.array([0.0, 1.0]), np.array([1.0, 0.0]))[: 1 if symmetric else 2]
    centre = np.full(models, 1 / models) if toward is None else toward

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        weights = x[:models]
        probabilities = softmax(np.tensordot(weights, log_probabilities, axes=1) + x[models:] @ directions)
        error = (probabilities - votes) / rows
        pull = penalty / rows * (weights - centre)
        loss = -np.log(np.maximum(probabilities[np.arange(rows), labels], UNDERFLOW)).mean()
        slope = np.tensordot(log_probabilities, error, axes=([1, 2], [0, 1])) + pull
        return float(loss + pull @ (weights - centre) / 2), np.concatenate([slope, directions @ error.sum(axis=0)])

    start = np.concatenate([centre, np.zeros(len(directions))])
    bounds = [(0.0, None)] * models + [(None, None)] * len(directions)
    result = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": DECREASE})
    return result.x[:models], result.x[models:] @ directions
