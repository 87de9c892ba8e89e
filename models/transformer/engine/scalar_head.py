"""The founding paper's RoBERTa: one output neuron, and how three class probabilities are made of it.

The paper's: one linear output, read as the probability that A is preferred, trained by squared error against 0/1
labels ("Predicting Human Preferences for LLM responses", University of Colorado Denver, 2024). It does not say
what becomes of ties, nor how the competition's three columns come out of one number.

Added here: a tie is the target 0.5. The three probabilities are a calibration (`models.calibration`) of the output's
distance from 0.5, fitted on a tenth of the fold's own training battles which the network is not trained on, as its
outputs on battles that it has learnt by heart say nothing about new ones. Prompts are not shared between the
tenth and the rest, and no vote of the fold that is scored is used.
"""

import numpy as np

from models.calibration import Calibration
from models.transformer.engine.prediction import Readout

MIDDLE = 0.5


def fit(outputs: list[np.ndarray], votes: list[np.ndarray]) -> Calibration:
    """The calibration of outputs (rows, 1) against class numbers (rows,), one pair for each response order."""
    scores = np.concatenate([_score(values) for values in outputs])
    return Calibration.fit(scores, np.empty((len(scores), 0)), np.concatenate(votes))


def readout(calibration: Calibration) -> Readout:
    """The function from outputs (rows, 1) to probabilities (rows, 3), in the order that was shown."""
    return lambda outputs: calibration.probabilities(_score(outputs), np.empty((len(outputs), 0)))


def _score(outputs: np.ndarray) -> np.ndarray:
    return outputs[:, 0] - MIDDLE
