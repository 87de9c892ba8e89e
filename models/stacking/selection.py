"""Choosing among models by their log losses on the same rows: who leads beyond noise, and which candidate ships."""

from collections.abc import Mapping

import numpy as np

from models.stacking.settings import MINIMUM_BATTLES, MIX
from oof.metrics import paired_standard_error

# Nats by which another candidate must lead the mix. On the inner folds the mix is made of models of fewer rows, and
# there it was up to 0.0013 worse than the regression where it was better on the outer folds.
MINIMUM_LEAD = 0.002


def leads(ahead: np.ndarray, behind: np.ndarray, groups: np.ndarray | None, errors: float) -> bool:
    """Whether a model's losses (n,) are lower than another's by more than so many paired standard errors.

    groups (n,), if given, mark rows that are not independent.
    """
    return float((behind - ahead).mean()) > errors * paired_standard_error(behind, ahead, groups)


def choose(losses: Mapping[str, np.ndarray], groups: np.ndarray | None = None, least_lead: float = MINIMUM_LEAD) -> str:
    """The mix, unless others lead it by more than two paired standard errors and `least_lead`: then the best of them.

    A shrunken pool of several models is a safer bet than the best of them, whose figure is optimistic. The close
    relatives of the mix differ from it by little but steadily, so that the standard error alone would not do.

    Of fewer than `MINIMUM_BATTLES` rows it is the prior, unless the one so chosen leads it by more than two paired
    standard errors: fits on so few rows can be worse than none.

    losses: candidate, mix and prior among them → (n,), all on the same rows; groups (n,), if given, mark rows that are
    not independent.
    """
    mix = losses[MIX]
    means = {name: float(values.mean()) for name, values in losses.items()}
    ahead = [
        name
        for name, values in losses.items()
        if means[MIX] - means[name] > least_lead and leads(values, mix, groups, 2)
    ]
    chosen = min(ahead, key=means.__getitem__, default=MIX)
    if len(mix) < MINIMUM_BATTLES and not leads(losses[chosen], losses["prior"], groups, 2):
        return "prior"
    return chosen
