"""The teacher's probabilities that each model of a base learns from."""

import numpy as np
import pandas as pd

from battles.paths import RunPaths
from models.transformer.settings import Teacher
from oof import table
from oof.nested import read_pairs


def teacher_probabilities(paths: RunPaths, teacher: Teacher, folds: pd.DataFrame) -> np.ndarray:
    """Probabilities (folds + 1, battles, 3) by number of the model that learns from them, the last trained on all
    folds.

    Plain out-of-fold rows, or with `clean` those of teachers that did not see the model's own fold either. Raises
    BadInput for a missing table or one of another split.
    """
    count = int(folds["fold"].max()) + 1
    plain = table.read(paths.predictions(teacher.base), folds, partial=True).probabilities[None]
    # A model of all rows is not scored, so that no fold can leak into its score: plain out-of-fold rows do.
    if teacher.clean:
        return np.concatenate([read_pairs(paths.pairs(teacher.base), folds), plain])
    return np.repeat(plain, count + 1, axis=0)
