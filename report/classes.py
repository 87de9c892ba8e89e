"""What was predicted against what was voted: the confusion matrix, its figures per class, the worst mistakes."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from battles.schema import CLASSES, WINNERS
from oof.metrics import row_losses

Figures = dict[str, float | int | None]


def confusion_matrix(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Battles by vote (rows) and by most probable class (columns), int64 (3, 3)."""
    counts = np.zeros((CLASSES, CLASSES), dtype=np.int64)
    np.add.at(counts, (labels, probabilities.argmax(axis=1)), 1)
    return counts


def class_figures(confusion: np.ndarray) -> dict[str, Figures]:
    """Precision, recall, F1, votes and predictions of every class, by its winner column.

    Precision is None for a class that is never predicted, recall for one without votes; F1 is then 0.
    """
    result: dict[str, Figures] = {}
    for number, name in enumerate(WINNERS):
        right, votes, predicted = (
            int(confusion[number, number]),
            int(confusion[number].sum()),
            int(confusion[:, number].sum()),
        )
        result[name] = {
            "precision": right / predicted if predicted else None,
            "recall": right / votes if votes else None,
            "f1": 2 * right / max(votes + predicted, 1),
            "votes": votes,
            "predicted": predicted,
        }
    return result


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
