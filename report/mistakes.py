"""The battles whose vote the stack found least probable."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from oof.metrics import row_losses


def confident_mistakes(
    battles: pd.DataFrame, stack: np.ndarray, bases: Mapping[str, np.ndarray], labels: np.ndarray, count: int
) -> pd.DataFrame:
    """The `count` battles whose vote the stack found least probable, the worst first.

    Columns: `id`, `fold`, `vote` and `favourite` (class numbers), `probability` of the vote and of the
    `favourite_probability`, and `agreeing`: how many bases have the stack's favourite. `battles` gives `id`, `fold`.
    """
    favourite = stack.argmax(axis=1)
    worst = np.argsort(-row_losses(stack, labels), kind="stable")
    worst = worst[favourite[worst] != labels[worst]][:count]
    agreeing = np.zeros(len(worst), dtype=np.int64)
    for probabilities in bases.values():
        agreeing += probabilities[worst].argmax(axis=1) == favourite[worst]
    return pd.DataFrame(
        {
            "id": battles["id"].to_numpy()[worst],
            "fold": battles["fold"].to_numpy()[worst],
            "vote": labels[worst],
            "favourite": favourite[worst],
            "probability": stack[worst, labels[worst]],
            "favourite_probability": stack[worst, favourite[worst]],
            "agreeing": agreeing,
        }
    )
