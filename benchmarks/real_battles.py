"""Splits of a file of voted battles as the stacker sees them in profile `cpu`, made in memory: for other benchmarks."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from battles.folds import make_folds
from battles.reading import read_battles
from battles.schema import ID, labels
from features.settings import Features
from features.table import fit
from models.stacking.level1_data import Level1Data
from models.stacking.meta_features import make_meta
from models.tfidf.base_model import open_base
from models.tfidf.settings import Tfidf
from oof.table import MEAN

FOLDS = 5
BASE = "tfidf"


@dataclass(frozen=True)
class Split:
    """data: n battles with plain out-of-fold rows. outside: fold → the others, with nested rows."""

    data: Level1Data
    outside: Mapping[int, Level1Data]


def read_split(path: Path, seed: int) -> Split:
    """The split of `prepare.seed` with TF-IDF and all features, by their default settings."""
    battles = read_battles(path, voted=True)
    folds = make_folds(battles, FOLDS, seed)
    plain, nested = base_rows(battles, folds["fold"].to_numpy())
    made = fit(battles, folds, Features(), 1)
    votes, numbers, groups = labels(battles), folds["fold"].to_numpy(), folds["group"].to_numpy()

    def data(rows: np.ndarray, probabilities: np.ndarray, columns: pd.DataFrame) -> Level1Data:
        meta = make_meta({BASE: probabilities[rows]}, {}, columns[rows].reset_index(drop=True), made.swap)
        return Level1Data(meta, votes[rows], numbers[rows], groups[rows])

    columns, outside = made.table.drop(columns=ID), {}
    for fold in range(FOLDS):
        rest = numbers != fold
        learnt = made.nested[made.nested["without"] == fold].drop(columns=[ID, "without"])
        changed = columns.copy()
        changed.loc[rest, learnt.columns] = learnt.to_numpy()
        outside[fold] = data(rest, nested[fold], changed)
    return Split(data(np.ones(len(votes), dtype=bool), plain, columns), outside)


def base_rows(battles: pd.DataFrame, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """TF-IDF's out-of-fold rows (n, 3) and nested ones (folds, n, 3), as `oof.nested.cross_pairs` has them."""
    fit_model, _ = open_base(Tfidf(), battles, None)
    plain, nested = np.zeros((len(battles), 3)), np.full((FOLDS, len(battles), 3), np.nan)
    with tempfile.TemporaryDirectory() as folder:

        def predict(held: np.ndarray) -> np.ndarray:
            return fit_model(0, np.flatnonzero(~held), np.flatnonzero(held), Path(folder)).valid[MEAN]

        for fold in range(FOLDS):
            plain[numbers == fold] = predict(numbers == fold)
        for j, k in combinations(range(FOLDS), 2):
            held = np.isin(numbers, (j, k))
            values = np.zeros_like(plain)
            values[held] = predict(held)
            nested[k][numbers == j], nested[j][numbers == k] = values[numbers == j], values[numbers == k]
    return plain, nested
