"""The two degrees of freedom of three centred logits: the *lead* of A over B, and the log-odds of a *tie*.

Exchanging the responses A and B changes the sign of the lead and keeps the tie.
"""

import numpy as np

# Keeps the logarithm of a probability that underflowed to 0 finite. It is this small so that an optimiser or a round
# of boosting still sees every difference between scores: it must not act as a floor, as `oof.probabilities.FLOOR` does.
UNDERFLOW = 1e-300


def to_logs(probabilities: np.ndarray) -> np.ndarray:
    """Their logarithms, finite also where one is 0."""
    return np.log(np.maximum(probabilities, UNDERFLOW))


def to_logits(lead: np.ndarray, tie: np.ndarray) -> np.ndarray:
    """Centred logits (n, 3) of the lead (n,) of A over B and the tie (n,) against the mean of A and B."""
    return np.column_stack([lead / 2 - tie / 3, -lead / 2 - tie / 3, 2 * tie / 3])


def from_logits(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lead and the tie, each (n,), of logits (n, 3), centred or not."""
    return logits[:, 0] - logits[:, 1], logits[:, 2] - (logits[:, 0] + logits[:, 1]) / 2
