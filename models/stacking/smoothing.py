"""What its votes allow a model to say: no more certainty than their number gives, and no tie where there is none.

Additive smoothing is for models that were fitted with hardly any votes of a class.

Nothing then holds a fit back from giving that class a probability of almost 0: biases and trees follow the absence of
votes, and a single later vote costs 10 nats or more. Smoothing by counts (Laplace's rule of succession) bounds it.
"""

from dataclasses import dataclass

import numpy as np

from models.stacking.inner_cv import Fit, MetaModel
from models.stacking.meta_features import Meta
from models.stacking.two_classes import WithoutTie, without_tie
from oof.probabilities import centred, softmax

# Votes that every class needs for a fit to be left as it is: the usual minimum of counts for approximations by a
# normal distribution (Cochran 1954). No class falls below it in tables of a few hundred battles.
FEWEST_VOTES = 5


def few_votes(labels: np.ndarray, ties: bool = True) -> bool:
    """Whether a class has fewer than `FEWEST_VOTES` of the votes (n,); one of ties only where they are possible."""
    return int(np.bincount(labels, minlength=3)[: 3 if ties else 2].min()) < FEWEST_VOTES


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


def smoothed(model: MetaModel, labels: np.ndarray, ties: bool = True) -> MetaModel:
    """The model as it is, unless its votes (n,) are too few of a class or no battle can end in a tie.

    Without ties the smoothed probabilities of A and B are (rows · p + 1) / (rows + 2), Laplace's rule of two classes.
    """
    careful = Smoothed(model, len(labels)) if few_votes(labels, ties) else model
    return careful if ties else WithoutTie(careful)


def smoothed_fit(fit: Fit, ties: bool = True) -> Fit:
    """A fit whose models are as `smoothed` makes them."""
    return lambda meta, labels: smoothed(fit(meta, labels), labels, ties)


def smoothed_logits(logits: np.ndarray, labels: np.ndarray, ties: bool = True) -> np.ndarray:
    """The logits (n, 3) of models that were fitted on votes like `labels` (n,), as `smoothed` makes them."""
    careful = smooth(logits, len(labels)) if few_votes(labels, ties) else logits
    return careful if ties else without_tie(careful)
