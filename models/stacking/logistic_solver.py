"""Penalised multinomial logistic regression on odd and even columns, with an offset.

The three logits have two degrees of freedom: the *lead* of A over B and the log-odds of a *tie*. Exchanging A
and B flips the lead and keeps the tie, so a lead made of odd columns and a tie made of even columns is
symmetric by construction. The crossed terms (even columns for the lead, odd ones for the tie, a constant
lead) are what a position effect needs; they have a penalty of their own, and none exist when it is infinite.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from battles.errors import BadInput
from models.stacking.meta_features import Parts
from oof.probabilities import softmax

CLIP = 0.005
NEWTON_STEPS = 50
TOLERANCE = 1e-9
# Rows whose scaled columns exist at a time: a million battles need no more memory for them than these.
CHUNK = 16384

# The columns of some rows: of the lead (rows, p) and of the tie (rows, q).
Designs = Callable[[slice], tuple[np.ndarray, np.ndarray]]


def to_logits(lead: np.ndarray, tie: np.ndarray) -> np.ndarray:
    """Centred logits (n, 3) of which `lead` is A's against B and `tie` is the tie's against the mean of both."""
    return np.column_stack([lead / 2 - tie / 3, -lead / 2 - tie / 3, 2 * tie / 3])


def from_logits(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lead and tie, each (n,), of any logits (n, 3)."""
    return logits[:, 0] - logits[:, 1], logits[:, 2] - (logits[:, 0] + logits[:, 1]) / 2


@dataclass(frozen=True)
class Scaler:
    """Winsorises (0.5 % on each side) and standardises columns; odd columns keep their zero."""

    low: np.ndarray
    high: np.ndarray
    centre: np.ndarray
    weight: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray, odd: bool) -> "Scaler":
        """Fits on columns (n, p), one at a time: of a million rows no second copy of all is made."""
        found = np.array([_scale(column.astype(np.float64), odd) for column in values.T]).reshape(-1, 4)
        return cls(*found.T)

    def transform(self, values: np.ndarray) -> np.ndarray:
        return (np.clip(values, self.low, self.high) - self.centre) * self.weight


def _scale(column: np.ndarray, odd: bool) -> tuple[float, float, float, float]:
    """Bounds, centre and weight of one column (n,)."""
    if odd:
        high = np.quantile(np.abs(column), 1 - CLIP)
        low, centre = -high, 0.0
    else:
        low, high = np.quantile(column, [CLIP, 1 - CLIP])
        centre = np.clip(column, low, high).mean()
    scale = np.sqrt(np.square(np.clip(column, low, high) - centre).mean())
    # A column that is constant here has no weight.
    return low, high, centre, 1 / scale if scale > TOLERANCE else 0.0


def newton(
    designs: Designs, penalties: np.ndarray, offset: np.ndarray, labels: np.ndarray, start: np.ndarray | None = None
) -> np.ndarray:
    """Coefficients (p + q,) that minimise summed log loss + ½ Σ penalty · coefficient².

    The columns of `designs` are added, times their coefficients, to the offset's (n, 3) lead and tie; penalties are
    (p + q,). Damped Newton; the problem is convex. `start` warms it up.
    """
    width = designs(slice(0, 0))[0].shape[1]

    def evaluate(coefficients: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        loss = 0.5 * (penalties * np.square(coefficients)).sum()
        gradient, hessian = penalties * coefficients, np.diag(penalties + TOLERANCE)
        for rows in _chunks(len(labels)):
            lead_columns, tie_columns = designs(rows)
            lead, tie = from_logits(offset[rows])
            lead, tie = lead + lead_columns @ coefficients[:width], tie + tie_columns @ coefficients[width:]
            probabilities, votes = softmax(to_logits(lead, tie)), labels[rows]
            loss -= np.log(np.maximum(probabilities[np.arange(len(votes)), votes], 1e-300)).sum()
            error = probabilities - np.eye(3)[votes]
            gradient[:width] += lead_columns.T @ (error[:, 0] - error[:, 1]) / 2
            gradient[width:] += tie_columns.T @ error[:, 2]
            a, b, even = probabilities.T
            hessian[:width, :width] += (lead_columns * ((a + b - np.square(a - b)) / 4)[:, None]).T @ lead_columns
            hessian[:width, width:] += (lead_columns * (-(a - b) * even / 2)[:, None]).T @ tie_columns
            hessian[width:, width:] += (tie_columns * (even * (1 - even))[:, None]).T @ tie_columns
        hessian[width:, :width] = hessian[:width, width:].T
        return float(loss), gradient, hessian

    coefficients = np.zeros(len(penalties)) if start is None else start
    loss, gradient, hessian = evaluate(coefficients)
    for _ in range(NEWTON_STEPS):
        step = np.linalg.solve(hessian, gradient)
        decrement = gradient @ step
        if decrement <= TOLERANCE * max(1.0, loss):
            break
        rate = 1.0
        while rate > TOLERANCE:
            trial = evaluate(coefficients - rate * step)
            if trial[0] <= loss - 1e-4 * rate * decrement:
                break
            rate /= 2
        else:
            break
        coefficients = coefficients - rate * step
        loss, gradient, hessian = trial
    return coefficients


def _chunks(rows: int) -> Iterator[slice]:
    return (slice(begin, begin + CHUNK) for begin in range(0, rows, CHUNK))


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
        The tie's constant, and the lead's where crossed terms exist, are free. `start`, fitted on the same rows with
        another penalty, lends its scalers and warms up.
        """
        odd, even = parts.odd.values, parts.even.values
        if not crossing > 0:
            raise BadInput(f"stack.crossing: {crossing} must be positive; inf makes the regression symmetric")
        if start is None:
            scalers = Scaler.fit(odd, odd=True), Scaler.fit(even, odd=False)
        else:
            scalers = start.odd_scaler, start.even_scaler
        crossed = bool(np.isfinite(crossing))
        straight = np.broadcast_to(penalty, odd.shape[1] + even.shape[1])
        on_odd, on_even = straight[: odd.shape[1]], straight[odd.shape[1] :]
        free = np.zeros(1)
        blocks = [on_odd, on_even, free]
        if crossed:
            blocks = [on_odd, on_even * crossing, free, on_even, on_odd * crossing, free]
        penalties = np.concatenate(blocks)
        warm = start.coefficients if start is not None and start.crossed == crossed else None
        coefficients = newton(_designs(parts, *scalers, crossed), penalties, offset, labels, warm)
        return cls(parts.odd.names, parts.even.names, *scalers, crossed, coefficients)

    def logits(self, parts: Parts, offset: np.ndarray) -> np.ndarray:
        """Centred logits (n, 3) of columns that must be those of the fit, in their order."""
        if parts.odd.names != self.odd or parts.even.names != self.even:
            raise BadInput(
                f"stack: columns {[*parts.odd.names, *parts.even.names]} differ from those of the fit; stack again"
            )
        designs = _designs(parts, self.odd_scaler, self.even_scaler, self.crossed)
        lead, tie = from_logits(offset)
        for rows in _chunks(len(offset)):
            on_lead, on_tie = designs(rows)
            width = on_lead.shape[1]
            lead[rows] += on_lead @ self.coefficients[:width]
            tie[rows] += on_tie @ self.coefficients[width:]
        return to_logits(lead, tie)


def _designs(parts: Parts, odd_scaler: Scaler, even_scaler: Scaler, crossed: bool) -> Designs:
    def designs(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        odd, even = odd_scaler.transform(parts.odd.values[rows]), even_scaler.transform(parts.even.values[rows])
        ones = np.ones((len(odd), 1))
        if crossed:
            return np.hstack([odd, even, ones]), np.hstack([even, odd, ones])
        return odd, np.hstack([even, ones])

    return designs


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
