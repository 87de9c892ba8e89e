"""Penalised multinomial logistic regression on odd and even columns, with an offset.

The three logits have two degrees of freedom: the *lead* of A over B and the log-odds of a *tie*. Exchanging A
and B flips the lead and keeps the tie, so a lead made of odd columns and a tie made of even columns is
symmetric by construction. The crossed terms (even columns for the lead, odd ones for the tie, a constant
lead) are what a position effect needs; they have a penalty of their own, and none exist when it is infinite.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from battles.errors import BadInput
from models.meta import Parts

CLIP = 0.005
NEWTON_STEPS = 50
TOLERANCE = 1e-9


def to_logits(lead: np.ndarray, tie: np.ndarray) -> np.ndarray:
    """Centred logits (n, 3) of which `lead` is A's against B and `tie` is the tie's against the mean of both."""
    return np.column_stack([lead / 2 - tie / 3, -lead / 2 - tie / 3, 2 * tie / 3])


def from_logits(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lead and tie, each (n,), of any logits (n, 3)."""
    return logits[:, 0] - logits[:, 1], logits[:, 2] - (logits[:, 0] + logits[:, 1]) / 2


def softmax(logits: np.ndarray) -> np.ndarray:
    """Row-wise softmax, float64."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@dataclass(frozen=True)
class Scaler:
    """Winsorises (0.5 % on each side) and standardises columns; odd columns keep their zero."""

    low: np.ndarray
    high: np.ndarray
    centre: np.ndarray
    weight: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray, odd: bool) -> "Scaler":
        if not values.shape[1]:
            return cls(*(np.zeros(0) for _ in range(4)))
        if odd:
            high = np.quantile(np.abs(values), 1 - CLIP, axis=0)
            low, centre = -high, np.zeros(len(high))
        else:
            low, high = np.quantile(values, [CLIP, 1 - CLIP], axis=0)
            centre = np.clip(values, low, high).mean(axis=0)
        scale = np.sqrt(np.square(np.clip(values, low, high) - centre).mean(axis=0))
        # A column that is constant here has no weight.
        return cls(low, high, centre, np.where(scale > TOLERANCE, 1 / np.maximum(scale, TOLERANCE), 0.0))

    def transform(self, values: np.ndarray) -> np.ndarray:
        return (np.clip(values, self.low, self.high) - self.centre) * self.weight


def newton(
    lead_columns: np.ndarray,
    tie_columns: np.ndarray,
    penalties: np.ndarray,
    offset: np.ndarray,
    labels: np.ndarray,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Coefficients (p + q,) that minimise summed log loss + ½ Σ penalty · coefficient².

    lead_columns (n, p) and tie_columns (n, q) are added, times their coefficients, to the offset's (n, 3) lead
    and tie; penalties (p + q,). Damped Newton; the problem is convex. `start` warms it up.
    """
    width = lead_columns.shape[1]
    lead_0, tie_0 = from_logits(offset)
    votes = np.eye(3)[labels]

    def forward(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        lead = lead_0 + lead_columns @ coefficients[:width]
        tie = tie_0 + tie_columns @ coefficients[width:]
        probabilities = softmax(to_logits(lead, tie))
        loss = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-300)).sum()
        return loss + 0.5 * (penalties * np.square(coefficients)).sum(), probabilities

    coefficients = np.zeros(len(penalties)) if start is None else start
    loss, probabilities = forward(coefficients)
    for _ in range(NEWTON_STEPS):
        error = probabilities - votes
        gradient = np.concatenate([lead_columns.T @ (error[:, 0] - error[:, 1]) / 2, tie_columns.T @ error[:, 2]])
        gradient += penalties * coefficients
        a, b, tie = probabilities.T
        cross = (lead_columns * (-(a - b) * tie / 2)[:, None]).T @ tie_columns
        hessian = np.block(
            [
                [(lead_columns * ((a + b - np.square(a - b)) / 4)[:, None]).T @ lead_columns, cross],
                [cross.T, (tie_columns * (tie * (1 - tie))[:, None]).T @ tie_columns],
            ]
        )
        hessian[np.diag_indices_from(hessian)] += penalties + TOLERANCE
        step = np.linalg.solve(hessian, gradient)
        decrement = gradient @ step
        if decrement <= TOLERANCE * max(1.0, loss):
            break
        rate = 1.0
        while rate > TOLERANCE:
            trial, trial_probabilities = forward(coefficients - rate * step)
            if trial <= loss - 1e-4 * rate * decrement:
                break
            rate /= 2
        else:
            break
        coefficients, loss, probabilities = coefficients - rate * step, trial, trial_probabilities
    return coefficients


@dataclass(frozen=True)
class Linear:
    """A fitted regression: adds `lead` and `tie` coefficients of scaled columns to an offset."""

    odd: tuple[str, ...]
    even: tuple[str, ...]
    odd_scaler: Scaler
    even_scaler: Scaler
    crossed: bool
    coefficients: np.ndarray

    @classmethod
    def fit(
        cls,
        parts: Parts,
        labels: np.ndarray,
        offset: np.ndarray,
        penalty: np.ndarray | float,
        crossing: float,
        start: "Linear | None" = None,
    ) -> "Linear":
        """Fits on `parts` (odd, even); `penalty` is one number or one per column (odd, then even).

        Crossed coefficients are penalised `crossing` times as much; with an infinite `crossing` there are none.
        The tie's constant, and the lead's where crossed terms exist, are free.
        """
        odd, even = parts.odd.values, parts.even.values
        if not crossing > 0:
            raise BadInput(f"stack.crossing: {crossing} must be positive; inf makes the regression symmetric")
        scalers = Scaler.fit(odd, odd=True), Scaler.fit(even, odd=False)
        crossed = bool(np.isfinite(crossing))
        lead, tie = _designs(scalers[0].transform(odd), scalers[1].transform(even), crossed)
        straight = np.broadcast_to(penalty, odd.shape[1] + even.shape[1])
        on_odd, on_even = straight[: odd.shape[1]], straight[odd.shape[1] :]
        free = np.zeros(1)
        blocks = [on_odd, on_even, free]
        if crossed:
            blocks = [on_odd, on_even * crossing, free, on_even, on_odd * crossing, free]
        penalties = np.concatenate(blocks)
        warm = start.coefficients if start is not None and start.crossed == crossed else None
        return cls(
            parts.odd.names, parts.even.names, *scalers, crossed, newton(lead, tie, penalties, offset, labels, warm)
        )

    def logits(self, parts: Parts, offset: np.ndarray) -> np.ndarray:
        """Centred logits (n, 3) of columns that must be those of the fit, in their order."""
        if parts.odd.names != self.odd or parts.even.names != self.even:
            raise BadInput(
                f"stack: columns {[*parts.odd.names, *parts.even.names]} differ from those of the fit; stack again"
            )
        lead, tie = _designs(
            self.odd_scaler.transform(parts.odd.values), self.even_scaler.transform(parts.even.values), self.crossed
        )
        lead_0, tie_0 = from_logits(offset)
        width = lead.shape[1]
        return to_logits(lead_0 + lead @ self.coefficients[:width], tie_0 + tie @ self.coefficients[width:])


def _designs(odd: np.ndarray, even: np.ndarray, crossed: bool) -> tuple[np.ndarray, np.ndarray]:
    ones = np.ones((len(odd), 1))
    if crossed:
        return np.hstack([odd, even, ones]), np.hstack([even, odd, ones])
    return odd, np.hstack([even, ones])


def convex_weights(
    log_probabilities: np.ndarray,
    labels: np.ndarray,
    position: bool,
    toward: np.ndarray | None = None,
    penalty: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Non-negative weights (bases,) and class biases (3,) of the log-loss-optimal logarithmic pool.

    The weights' sum is the inverse temperature of the pool (1 keeps the bases' sharpness). With `position` the two
    winners may have different biases. log_probabilities (bases, n, 3). `penalty`, of a summed log loss, shrinks the
    weights to `toward` (bases,), by default equal ones.
    """
    bases, rows, _ = log_probabilities.shape
    votes = np.eye(3)[labels]
    directions = to_logits(np.array([0.0, 1.0]), np.array([1.0, 0.0]))[: 2 if position else 1]
    centre = np.full(bases, 1 / bases) if toward is None else toward

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        weights = x[:bases]
        probabilities = softmax(np.tensordot(weights, log_probabilities, axes=1) + x[bases:] @ directions)
        error = (probabilities - votes) / rows
        pull = penalty / rows * (weights - centre)
        loss = (
            -np.log(np.maximum(probabilities[np.arange(rows), labels], 1e-300)).mean() + pull @ (weights - centre) / 2
        )
        slope = np.tensordot(log_probabilities, error, axes=([1, 2], [0, 1])) + pull
        return float(loss), np.concatenate([slope, directions @ error.sum(axis=0)])

    start = np.concatenate([centre, np.zeros(len(directions))])
    bounds = [(0.0, None)] * bases + [(None, None)] * len(directions)
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12})
    return found.x[:bases], found.x[bases:] @ directions
