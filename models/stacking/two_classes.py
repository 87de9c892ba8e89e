"""Level-1 models of battles that cannot end in a tie: what they say of A and B, given that one of the two wins.

A model that was fitted without ties gives them next to nothing, and the lead alone decides between A and B. So the tie
is taken out of what it predicts; nothing is fitted in another way.
"""

from dataclasses import dataclass

import numpy as np

from models.stacking.contrasts import from_logits, to_logits
from models.stacking.inner_cv import MetaModel
from models.stacking.meta_features import Meta

# Nats below the mean of A and B: its softmax is 0 in float64, not just small.
_IMPOSSIBLE = -1000.0


def without_tie(logits: np.ndarray) -> np.ndarray:
    """Centred logits (n, 3) with the same lead, whose softmax is exactly 0 for the tie."""
    lead, _ = from_logits(logits)
    return to_logits(lead, np.full(len(lead), _IMPOSSIBLE))


@dataclass(frozen=True)
class WithoutTie:
    """A model whose ties are impossible."""

    model: MetaModel

    def logits(self, meta: Meta) -> np.ndarray:
        """Centred logits (n, 3)."""
        return without_tie(self.model.logits(meta))
