"""Additive smoothing of models that were fitted with hardly any votes of a class.

Nothing then holds a fit back from giving that class a probability of almost 0: biases and trees follow the absence of
votes, and a single later vote costs 10 nats or more. Smoothing by counts (Laplace's rule of succession) bounds it.
"""

from dataclasses import dataclass

import numpy as np

from models.stacking.inner_cv import Fit, MetaModel
from models.stacking.meta_features import Meta
from oof.probabilities import centred, softmax

# Votes that every class needs for a fit to be left as it is: the usual minimum of counts for approximations by a
# normal distribution (Cochran 1954). No class falls below it in tables of a few hundred battles.
FEWEST_VOTES = 5


def few_votes(labels: np.ndarray) -> bool:
    """Whether a class has fewer than `FEWEST_VOTES` of the votes (n,)."""
    return int(np.bincount(labels, minlength=3).min()) < FEWEST_VOTES


def smooth(logits: np.ndarray, rows: int) -> np.ndarray:
    """Centred logits (n, 3) of (rows · p + 1) / (rows + 3): as if every class had one vote beside the `rows` fitted on.

    Of class frequencies this is (votes + 1) / (rows + 3). No probability is below 1 / (rows + 3).
    """
    return centred(np.log((rows * softmax(logits) + 1) / (rows + 3)))


@dataclass(frozen=True)
class Smoothed:
    """A model that was fitted on `rows` battles, with its probabilities smoothed by counts."""

    model: MetaModel
    rows: int

    def logits(self, meta: Meta) -> np.ndarray:
        """Centred logits (n, 3)."""
        return smooth(self.model.logits(meta), self.rows)


def smoothed(model: MetaModel, labels: np.ndarray) -> MetaModel:
    """The model as it is, unless its votes (n,) are too few of a class."""
    return Smoothed(model, len(labels)) if few_votes(labels) else model


def smoothed_fit(fit: Fit) -> Fit:
    """A fit whose models are smoothed where their votes are too few of a class."""
    return lambda meta, labels: smoothed(fit(meta, labels), labels)
