"""Class probabilities as arrays (rows, 3): to and from logits, with the floor that keeps logarithms finite."""

import numpy as np

# The smallest probability that is told apart from 0 in a base's predictions: below it, log-probabilities are clipped.
FLOOR = 1e-6


def softmax(logits: np.ndarray) -> np.ndarray:
    """Row-wise softmax, float64."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def without_ties(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities (…, 3) given that a battle is no tie: the third is 0. NaN rows stay; a sure tie becomes ½ and ½."""
    sides = np.asarray(probabilities, dtype=np.float64)[..., :2]
    total = sides.sum(axis=-1, keepdims=True)
    shares = np.where(total == 0, 0.5, sides / np.where(total == 0, 1.0, total))
    return np.concatenate([shares, np.where(np.isnan(total), np.nan, 0.0)], axis=-1)


def class_count(probabilities: np.ndarray) -> int:
    """2 where no row of probabilities (n, 3) gives anything to a tie, as `without_ties` leaves them; else 3."""
    return 3 if np.nansum(probabilities[:, 2]) > 0 else 2


def centred(logits: np.ndarray) -> np.ndarray:
    """Logits (rows, 3) shifted so that each row sums to zero; their softmax is the same."""
    return np.asarray(logits - logits.mean(axis=1, keepdims=True))


def log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Log-probabilities (rows, 3), float64, of probabilities clipped to `FLOOR`."""
    return np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), FLOOR))
