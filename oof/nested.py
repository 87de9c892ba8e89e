"""Nested out-of-fold rows of a teacher: predictions by models that saw neither of two folds.

The model without folds j and k predicts both: its rows of j are what a student scored on k learns from, and the
other way round. So K folds cost K (K - 1) / 2 trainings, not K (K - 1). Each lies in `pair-<j>-<k>/` and resumes as
a fold does.

The table of these rows, `oof/<run>/<base>.pairs.parquet`, has one row for each battle and each other fold: `id, fold,
without` and the three winner columns, predicted by the model trained on all folds but `fold` and `without`. A student
that is scored on fold k learns from the rows `without` k.
"""

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.files import read_metadata, read_table, write_table
from battles.folds import fold_hash
from battles.schema import WINNERS
from oof.model_store import FitModel, Job, ModelStore
from oof.table import MEAN, check_ids, check_simplex


def cross_pairs(folds: pd.DataFrame, store: ModelStore, fit: FitModel) -> np.ndarray:
    """Probabilities (folds, battles, 3): entry [k] by models that saw neither fold k nor the battle's own fold.

    Entry [k] is NaN for fold k's own battles. Raises BadInput for fewer than three folds.
    """
    numbers = folds["fold"].to_numpy()
    count = int(numbers.max()) + 1
    if count < 3:
        raise BadInput(
            f"prepare.folds: {count}; a clean teacher is trained without two folds, so there must be 3 or more"
        )
    values = np.full((count, len(numbers), 3), np.nan)
    for at, (j, k) in enumerate(combinations(range(count), 2)):
        held_out = np.isin(numbers, (j, k))
        # Numbers above the folds' and the refit's: every model of a base has seeds of its own.
        job = Job(f"pair-{j}-{k}", count + 1 + at, np.flatnonzero(~held_out), np.flatnonzero(held_out), "pair")
        store.fit_once(job, fit)
        predicted = np.full((len(numbers), 3), np.nan)
        predicted[held_out] = store.load(job).valid[MEAN]
        values[k][numbers == j] = predicted[numbers == j]
        values[j][numbers == k] = predicted[numbers == k]
    return values


def write_pairs(path: str | Path, folds: pd.DataFrame, values: np.ndarray, metadata: Mapping[str, Any]) -> None:
    """Writes what `cross_pairs` returns, (folds, battles, 3); raises BadInput for rows off the simplex."""
    parts = []
    for without in range(len(values)):
        rows = (folds["fold"] != without).to_numpy()
        part = folds.loc[rows, ["id", "fold"]].assign(without=without)
        part[list(WINNERS)] = values[without][rows]
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    check_simplex(path, table[list(WINNERS)].to_numpy(), np.ones(len(table), dtype=bool), table["id"])
    write_table(path, table, {**metadata, "fold_hash": fold_hash(folds)})


def read_pairs(path: str | Path, folds: pd.DataFrame) -> np.ndarray:
    """The probabilities (folds, battles, 3) that `write_pairs` wrote; raises BadInput for those of another split."""
    path = Path(path)
    if not path.exists():
        raise BadInput(f"{path}: no such file; start the base through `make`, which makes its teacher's rows first")
    if read_metadata(path).get("fold_hash") != fold_hash(folds):
        raise BadInput(f"{path}: it was made on another split; delete it and run `make oof` again")
    table = read_table(path)
    numbers = folds["fold"].to_numpy()
    values = np.full((int(numbers.max()) + 1, len(folds), 3), np.nan)
    for without in range(len(values)):
        part = table[table["without"] == without]
        rows = numbers != without
        check_ids(path, part["id"], folds.loc[rows, "id"], "make oof")
        values[without][rows] = part[list(WINNERS)].to_numpy(dtype=np.float64)
        check_simplex(path, values[without][rows], np.ones(rows.sum(), dtype=bool), part["id"])
    return values
