"""From one score of a battle to three class probabilities, symmetric in the response order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from oof.probabilities import softmax

# Penalty on the squared slopes of the tie logit, in nats of mean log loss: keeps them finite on few battles.
_SHRINK = 1e-3


@dataclass(frozen=True)
class Calibration:
    """softmax(scale · d, -scale · d, tie · [1, |d|, even]), with |d| and even standardised by `mean` and `deviation`.

    The score d (n,) changes its sign when A and B are exchanged; `even` (n, any number of columns) does not.
    """

    scale: float
    tie: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def fit(cls, scores: np.ndarray, even: np.ndarray, votes: np.ndarray) -> "Calibration":
        """Fits to least log loss; the battles must be ones that the score was not trained on. `votes` are (n,)."""
        inputs = np.column_stack([np.abs(scores), even])
        mean, deviation = inputs.mean(axis=0), inputs.std(axis=0) + 1e-9
        spread = float(np.sqrt(np.mean(scores**2))) or 1.0
        columns = np.column_stack([np.ones(len(scores)), (inputs - mean) / deviation])

        def loss(params: np.ndarray) -> float:
            odd = params[0] / spread * scores
            logs = log_softmax(np.column_stack([odd, -odd, columns @ params[1:]]), axis=1)
            return float(-logs[np.arange(len(votes)), votes].mean() + _SHRINK * params[2:] @ params[2:])

        best = minimize(loss, np.zeros(columns.shape[1] + 1), method="L-BFGS-B").x
        return cls(float(best[0]) / spread, best[1:], mean, deviation)

    def probabilities(self, scores: np.ndarray, even: np.ndarray) -> np.ndarray:
        """Probabilities of A wins, B wins, tie: (n, 3), float64."""
        inputs = (np.column_stack([np.abs(scores), even]) - self.mean) / self.deviation
        tie = self.tie[0] + inputs @ self.tie[1:]
        return softmax(np.column_stack([self.scale * scores, -self.scale * scores, tie]))

    def values(self) -> dict[str, Any]:
        """The fitted numbers as JSON values."""
        vectors = {"tie": self.tie, "mean": self.mean, "deviation": self.deviation}
        return {"scale": self.scale, **{name: vector.tolist() for name, vector in vectors.items()}}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Calibration":
        """The calibration whose `values` these are."""
        return cls(values["scale"], *(np.array(values[name]) for name in ("tie", "mean", "deviation")))
