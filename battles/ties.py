"""Whether a battle can end in a tie at all: some voters, as those of the WSDM Cup, could only choose a side."""

from typing import Literal

import numpy as np

from battles.errors import BadInput

TIE = 2
# Where none of so many votes is a tie, still up to 1.5 % of all may be (the rule of three); of fewer nothing follows.
ENOUGH_BATTLES = 200


def can_tie(votes: np.ndarray, asked: Literal["auto"] | bool) -> bool:
    """Whether ties are a class of their own, by the votes (n,), class numbers, and by what `prepare.ties` asks for.

    Raises BadInput for votes that are ties where there should be none.
    """
    ties = int((votes == TIE).sum())
    if asked == "auto":
        return ties > 0 or len(votes) < ENOUGH_BATTLES
    if ties and not asked:
        raise BadInput(
            f"prepare.ties: false, but {ties} of {len(votes)} voted battles are ties; leave them out, or set it to true"
        )
    return asked
