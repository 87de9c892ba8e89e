"""Class probabilities as arrays (rows, 3): to and from logits, with the floor that keeps logarithms finite."""

import numpy as np

# The smallest probability that is told apart from 0 in a base's predictions: below it, log-probabilities are clipped.
FLOOR = 1e-6


def softmax(logits: np.ndarray) -> np.ndarray:
    """Row-wise softmax, float64."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def centred(logits: np.ndarray) -> np.ndarray:
    """Logits (rows, 3) shifted so that each row sums to zero; their softmax is the same."""
    return np.asarray(logits - logits.mean(axis=1, keepdims=True))


def log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Log-probabilities (rows, 3), float64, of probabilities clipped to `FLOOR`."""
    return np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), FLOOR))
