"""A grader by the published rules of MLE-bench's `lmsys-chatbot-arena`, written from their description."""

from pathlib import Path

import numpy as np
import pandas as pd

WINNERS = ["winner_model_a", "winner_model_b", "winner_tie"]


def grade(submission: Path, answers: pd.DataFrame) -> float:
    """Log loss of a submission; raises ValueError for one that the rules do not take.

    `answers` has `id` and the three winner columns. The submission needs the same ids, in any order, and probabilities
    in [0, 1] that sum to 1 at six decimals.
    """
    given = pd.read_csv(submission, dtype={"id": str}, keep_default_na=False)
    if list(given.columns) != ["id", *WINNERS]:
        raise ValueError(f"columns {list(given.columns)}")
    if sorted(given["id"]) != sorted(answers["id"].astype(str)):
        raise ValueError("ids do not match")
    values = given[WINNERS].to_numpy(dtype=float)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("values outside [0, 1]")
    if not (np.round(values.sum(axis=1), 6) == 1).all():
        raise ValueError("rows do not sum to 1")
    expected = answers.assign(id=answers["id"].astype(str)).set_index("id").loc[given["id"], WINNERS].to_numpy()
    return float(-(expected * np.log(np.clip(values, 1e-15, 1))).sum(axis=1).mean())
