"""The teacher's probabilities that each model of a base learns from: of other bases, of files, or their mean."""

import numpy as np
import pandas as pd

from battles.paths import RunPaths
from models.transformer.settings import Teacher
from oof import external, table
from oof.nested import read_pairs


def teacher_probabilities(paths: RunPaths, teacher: Teacher, folds: pd.DataFrame) -> np.ndarray:
    """Probabilities (folds + 1, battles, 3) by number of the model that learns from them, the last trained on all
    folds.

    Of several teachers it is their mean, weighted by `shares`; NaN where one of them has no row. Raises BadInput for a
    missing table, one of another split, and a file that lacks a battle.
    """
    models = int(folds["fold"].max()) + 2
    taught = [_of_base(paths, base, teacher.clean, folds, models) for base in teacher.bases]
    of_files = (external.read_rows(path, folds["id"]) for path in teacher.files)
    taught += [np.repeat(rows[None], models, axis=0) for rows in of_files]
    if len(taught) == 1:
        return taught[0]
    shares = np.array(teacher.shares or [1.0] * len(taught))
    mean: np.ndarray = np.einsum("t,tmbc->mbc", shares / shares.sum(), np.stack(taught))
    return mean


def _of_base(paths: RunPaths, base: str, clean: bool, folds: pd.DataFrame, models: int) -> np.ndarray:
    """Plain out-of-fold rows, or with `clean` those of teachers that did not see the model's own fold either."""
    plain = table.read(paths.predictions(base), folds, partial=True).probabilities[None]
    # A model of all rows is not scored, so that no fold can leak into its score: plain out-of-fold rows do.
    if clean:
        return np.concatenate([read_pairs(paths.pairs(base), folds), plain])
    return np.repeat(plain, models, axis=0)
