"""Penalised multinomial logistic regression on odd and even columns, on top of an offset.

A lead made of odd columns and a tie made of even columns (see `contrasts`) is symmetric by construction: exchanging A
and B exchanges the prediction. The *position terms* (even columns and a constant for the lead, odd columns for the tie)
break that symmetry, as a preference of the voters for the first or second place does. A symmetric model has none.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from battles.errors import BadInput
from models.stacking.contrasts import UNDERFLOW, from_logits, to_logits
from models.stacking.meta_features import Parts
from oof.probabilities import softmax

# Share of the values that is winsorised on each side of a column.
CLIP = 0.005
NEWTON_STEPS = 50
TOLERANCE = 1e-9
# A Newton step must reach this share of the decrease that its slope promises (Armijo's condition; Nocedal and
# Wright 2006, section 3.1), else it is halved.
SUFFICIENT_DECREASE = 1e-4
# Position terms are penalised this many times as much as others: position effects are small where there are any.
POSITION_FACTOR = 10.0
# Rows that are scaled at a time, so that a million battles need no second table of their size.
CHUNK = 16384

# The columns of some rows: those of the lead (rows, p) and those of the tie (rows, q).
Designs = Callable[[slice], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Scaler:
    """Winsorises (0.5 % on each side) and standardises columns; odd columns keep their zero."""

    low: np.ndarray
    high: np.ndarray
    centre: np.ndarray
    weight: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray, odd: bool) -> "Scaler":
        """Fits on columns (n, p), one at a time, so that no copy of all of them is made."""
        scales = np.array([_scale(column.astype(np.float64), odd) for column in values.T]).reshape(-1, 4)
        return cls(*scales.T)

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Scaled columns (n, p)."""
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
    # A column that is constant in these rows gets no weight.
    return low, high, centre, 1 / scale if scale > TOLERANCE else 0.0


class _Point(NamedTuple):
    """The objective at some coefficients, with its first and second derivatives."""

    loss: float
    gradient: np.ndarray
    hessian: np.ndarray


def newton(
    designs: Designs, penalties: np.ndarray, offset: np.ndarray, labels: np.ndarray, start: np.ndarray | None = None
) -> np.ndarray:
    """Coefficients (p + q,) of the lowest summed log loss + ½ Σ penalty · coefficient².

    The columns of `designs`, times their coefficients, are added to the lead and the tie of `offset` (n, 3). penalties
    (p + q,); labels (n,); `start` (p + q,) are coefficients to begin at. Newton's method with step halving; the problem
    is convex.
    """

    def evaluate(coefficients: np.ndarray) -> _Point:
        return _evaluate(coefficients, designs, penalties, offset, labels)

    coefficients = np.zeros(len(penalties)) if start is None else start
    point = evaluate(coefficients)
    for _ in range(NEWTON_STEPS):
        step = np.linalg.solve(point.hessian, point.gradient)
        decrement = point.gradient @ step
        if decrement <= TOLERANCE * max(1.0, point.loss):
            break
        rate = 1.0
        while rate > TOLERANCE:
            trial = evaluate(coefficients - rate * step)
            if trial.loss <= point.loss - SUFFICIENT_DECREASE * rate * decrement:
                break
            rate /= 2
        else:
            break
        coefficients = coefficients - rate * step
        point = trial
    return coefficients


def _evaluate(
    coefficients: np.ndarray, designs: Designs, penalties: np.ndarray, offset: np.ndarray, labels: np.ndarray
) -> _Point:
    width = designs(slice(0, 0))[0].shape[1]
    loss = 0.5 * (penalties * np.square(coefficients)).sum()
    gradient, hessian = penalties * coefficients, np.diag(penalties + TOLERANCE)
    for rows in _chunks(len(labels)):
        lead_columns, tie_columns = designs(rows)
        lead, tie = from_logits(offset[rows])
        lead, tie = lead + lead_columns @ coefficients[:width], tie + tie_columns @ coefficients[width:]
        probabilities, votes = softmax(to_logits(lead, tie)), labels[rows]
        loss -= np.log(np.maximum(probabilities[np.arange(len(votes)), votes], UNDERFLOW)).sum()
        error = probabilities - np.eye(3)[votes]
        gradient[:width] += lead_columns.T @ (error[:, 0] - error[:, 1]) / 2
        gradient[width:] += tie_columns.T @ error[:, 2]
        a, b, even = probabilities.T
        hessian[:width, :width] += (lead_columns * ((a + b - np.square(a - b)) / 4)[:, None]).T @ lead_columns
        hessian[:width, width:] += (lead_columns * (-(a - b) * even / 2)[:, None]).T @ tie_columns
        hessian[width:, width:] += (tie_columns * (even * (1 - even))[:, None]).T @ tie_columns
    hessian[width:, :width] = hessian[:width, width:].T
    return _Point(float(loss), gradient, hessian)


def _chunks(rows: int) -> Iterator[slice]:
    return (slice(begin, begin + CHUNK) for begin in range(0, rows, CHUNK))


@dataclass(frozen=True)
class Linear:
    """A fitted regression: adds scaled columns, times coefficients of the lead and of the tie, to an offset."""

    odd: tuple[str, ...]
    even: tuple[str, ...]
    odd_scaler: Scaler
    even_scaler: Scaler
    symmetric: bool
    coefficients: np.ndarray

    @classmethod
    def fit(
        cls,
        parts: Parts,
        labels: np.ndarray,
        offset: np.ndarray,
        penalty: np.ndarray | float,
        symmetric: bool,
        start: "Linear | None" = None,
    ) -> "Linear":
        """Fits on the columns of n battles, their votes (n,) and an offset (n, 3).

        `penalty` is one number or one per column (odd, then even); position terms, of which a `symmetric` model has
        none, are penalised `POSITION_FACTOR` times as much. Constants are free. `start`, fitted on the same rows with
        another penalty, lends its scalers and its coefficients to begin at.
        """
        odd, even = parts.odd.values, parts.even.values
        if start is None:
            scalers = Scaler.fit(odd, odd=True), Scaler.fit(even, odd=False)
        else:
            scalers = start.odd_scaler, start.even_scaler
        by_column = np.broadcast_to(penalty, odd.shape[1] + even.shape[1])
        on_odd, on_even = by_column[: odd.shape[1]], by_column[odd.shape[1] :]
        free = np.zeros(1)
        blocks = [on_odd, on_even, free]
        if not symmetric:
            blocks = [on_odd, on_even * POSITION_FACTOR, free, on_even, on_odd * POSITION_FACTOR, free]
        penalties = np.concatenate(blocks)
        begin = start.coefficients if start is not None and start.symmetric == symmetric else None
        coefficients = newton(_designs(parts, *scalers, symmetric), penalties, offset, labels, begin)
        return cls(parts.odd.names, parts.even.names, *scalers, symmetric, coefficients)

    def logits(self, parts: Parts, offset: np.ndarray) -> np.ndarray:
        """Centred logits (n, 3) of columns on top of an offset (n, 3).

        Raises BadInput when the columns are not those of the fit in their order.
        """
        if parts.odd.names != self.odd or parts.even.names != self.even:
            raise BadInput(
                f"stack: columns {[*parts.odd.names, *parts.even.names]} differ from those of the fit; stack again"
            )
        designs = _designs(parts, self.odd_scaler, self.even_scaler, self.symmetric)
        lead, tie = from_logits(offset)
        for rows in _chunks(len(offset)):
            on_lead, on_tie = designs(rows)
            width = on_lead.shape[1]
            lead[rows] += on_lead @ self.coefficients[:width]
            tie[rows] += on_tie @ self.coefficients[width:]
        return to_logits(lead, tie)


def _designs(parts: Parts, odd_scaler: Scaler, even_scaler: Scaler, symmetric: bool) -> Designs:
    def designs(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        odd, even = odd_scaler.transform(parts.odd.values[rows]), even_scaler.transform(parts.even.values[rows])
        ones = np.ones((len(odd), 1))
        if symmetric:
            return odd, np.hstack([even, ones])
        return np.hstack([odd, even, ones]), np.hstack([even, odd, ones])

    return designs
