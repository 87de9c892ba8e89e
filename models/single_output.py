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
from models.predicting import Readout

HELD_OUT_SHARE = 0.1
# A tenth of few battles is too few to tell how many ties there are.
HELD_OUT_ROWS = 100
MIDDLE = 0.5


def hold_out(groups: np.ndarray, seed: int) -> np.ndarray:
    """Which rows (rows,), bool, are kept for the calibration: whole prompt groups, a tenth of the rows.

    Of fewer than 1,000 rows it is 100, but at most a third.
    """
    rows = len(groups)
    enough = max(round(HELD_OUT_SHARE * rows), min(HELD_OUT_ROWS, rows // 3))
    names, code = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    total = np.bincount(code)[order].cumsum()
    chosen = order[total - np.bincount(code)[order] < enough]
    return np.isin(code, chosen)


def fit(outputs: list[np.ndarray], votes: list[np.ndarray]) -> Calibration:
    """The calibration of outputs (rows, 1) against class numbers (rows,), one pair for each response order."""
    scores = np.concatenate([_score(values) for values in outputs])
    return Calibration.fit(scores, np.empty((len(scores), 0)), np.concatenate(votes))


def readout(calibration: Calibration) -> Readout:
    """The function from outputs (rows, 1) to probabilities (rows, 3), in the order that was shown."""
    return lambda outputs: calibration.probabilities(_score(outputs), np.empty((len(outputs), 0)))


def _score(outputs: np.ndarray) -> np.ndarray:
    return outputs[:, 0] - MIDDLE
