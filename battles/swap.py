"""Exchanging the two responses: of battles, of votes and probabilities, of feature columns."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

SWAPPED_CLASSES = (1, 0, 2)
SAME, NEGATE = "same", "negate"

_PARTNER = {
    "model_a": "model_b",
    "response_a": "response_b",
    "winner_model_a": "winner_model_b",
}
_EXCHANGE = _PARTNER | {b: a for a, b in _PARTNER.items()}


def swap_battles(table: pd.DataFrame) -> pd.DataFrame:
    """The battles table with A and B exchanged: models, responses and votes; column order is kept."""
    return table.rename(columns=_EXCHANGE)[list(table.columns)]


def swap_probabilities(values: np.ndarray) -> np.ndarray:
    """Maps (..., 3) class values of exchanged battles back to the original order (its own inverse)."""
    return values[..., SWAPPED_CLASSES]


def swap_columns(table: pd.DataFrame, how: Mapping[str, str]) -> pd.DataFrame:
    """Feature columns as they would be with A and B exchanged.

    `how` maps each column to what the exchange does to it: `"same"`, `"negate"`, or the name of the
    column that it changes places with. Raises KeyError for a column that `how` does not declare.
    """
    out = {}
    for name in table.columns:
        rule = how[name]
        if rule == SAME:
            out[name] = table[name]
        elif rule == NEGATE:
            out[name] = -table[name]
        else:
            out[name] = table[rule]
    return pd.DataFrame(out, index=table.index)
