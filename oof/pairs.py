"""A teacher's rows from models that saw neither a battle's own fold nor another one: nested out-of-fold rows.

A table has one row for each battle and each other fold: `id, fold, without` and the three winner columns, predicted by
a model trained on all folds but `fold` and `without`. A student that is scored on fold k learns from the rows
`without` k.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.files import read_metadata, read_table, write_table
from battles.folds import fold_hash
from battles.schema import WINNERS
from oof.table import check_simplex


def write_pairs(path: str | Path, folds: pd.DataFrame, values: np.ndarray, metadata: Mapping[str, Any]) -> None:
    """Writes probabilities (folds, battles, 3): entry [k] without fold k, NaN for fold k's own battles.

    Raises BadInput for rows off the simplex.
    """
    parts = []
    for without in range(len(values)):
        part = folds.loc[folds["fold"] != without, ["id", "fold"]].assign(without=without)
        part[list(WINNERS)] = values[without][(folds["fold"] != without).to_numpy()]
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
        if part["id"].tolist() != folds.loc[rows, "id"].tolist():
            raise BadInput(f"{path}: its ids are not the run's battles in their order; delete it and run it again")
        values[without][rows] = part[list(WINNERS)].to_numpy(dtype=np.float64)
        check_simplex(path, values[without][rows], np.ones(rows.sum(), dtype=bool), part["id"])
    return values
