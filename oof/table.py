"""Writing and reading out-of-fold tables, and refusing what must never reach the stacker.

A table has one row per training battle, in the order of the fold table: `id, fold`, the three winner
columns (mean of swap TTA) and, for a base with swap TTA, the same three with `_plain` and `_swapped`
(predicted on exchanged responses, mapped back). Rows of a fold that was not run are NaN, never 0. A test
table has the same columns without `fold` and no NaN.

Beside the orders stands the boolean column `swapped`: which rows were read in the second order at all. Where swap TTA
had a time budget some were not; there `_swapped` is NaN and the mean is the plain order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from battles.errors import BadInput, plain
from battles.files import read_metadata, read_table, write_table
from battles.folds import fold_hash
from battles.schema import CLASSES, WINNERS

MEAN, PLAIN, SWAPPED = "", "_plain", "_swapped"
VARIANTS = (MEAN, PLAIN, SWAPPED)
BOTH_ORDERS = "swapped"
STACK = "stack"
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Predictions:
    """Probabilities of one base, float64 (rows, 3); `plain` and `swapped` are None without swap TTA.

    `swapped` is NaN in rows that were read in one order only, as the time for the second was spent. `covered` (rows,)
    is False where the row's fold was not run; such rows are NaN in every variant.
    """

    probabilities: np.ndarray
    plain: np.ndarray | None
    swapped: np.ndarray | None
    covered: np.ndarray
    metadata: dict[str, Any]


def columns(variant: str) -> list[str]:
    """The three column names of a variant (`""`, `"_plain"`, `"_swapped"`)."""
    return [name + variant for name in WINNERS]


def write(
    path: str | Path, folds: pd.DataFrame, variants: Mapping[str, np.ndarray], metadata: Mapping[str, Any]
) -> None:
    """Writes an out-of-fold table for all rows of the fold table.

    `variants` maps `""` (mandatory), `"_plain"`, `"_swapped"` to (rows, 3) probabilities with all-NaN rows
    where a fold was not run, and in `"_swapped"` where a battle was read in one order only. Raises BadInput for rows
    that are neither NaN nor on the simplex.
    """
    table = folds[["id", "fold"]].reset_index(drop=True)
    covered = ~np.isnan(np.asarray(variants[MEAN])).all(axis=1)
    _write(path, table, variants, covered, {**metadata, "fold_hash": fold_hash(folds)})


def write_test(
    path: str | Path, ids: Sequence[str], variants: Mapping[str, np.ndarray], metadata: Mapping[str, Any]
) -> None:
    """Writes predictions for the test battles, one row per id, none of them NaN."""
    table = pd.DataFrame({"id": pd.Series(list(ids), dtype="str")})
    _write(path, table, variants, np.ones(len(table), dtype=bool), metadata)


def _write(
    path: str | Path,
    table: pd.DataFrame,
    variants: Mapping[str, np.ndarray],
    covered: np.ndarray,
    metadata: Mapping[str, Any],
) -> None:
    for variant in VARIANTS:
        if variant in variants:
            values = np.asarray(variants[variant], dtype=np.float64)
            required = covered
            if variant == SWAPPED:
                required = np.asarray(~np.isnan(values).all(axis=1))
                table[BOTH_ORDERS] = required
            check_simplex(path, values, required, table["id"])
            table[columns(variant)] = values
    write_table(path, table, metadata)


def read(path: str | Path, folds: pd.DataFrame, partial: bool = False) -> Predictions:
    """Reads an out-of-fold table against the fold table of the run.

    Raises BadInput for another fold hash, repeated, missing or unknown ids, another order, rows off the
    simplex, and, unless `partial`, for folds that were not run.
    """
    path = Path(path)
    table, metadata = _load(path)
    expected = fold_hash(folds)
    if metadata.get("fold_hash") != expected:
        raise BadInput(
            f"{path}: fold hash {metadata.get('fold_hash')}, the run's folds have {expected}; "
            "it was made on another split: delete it and run `make oof` again"
        )
    check_ids(path, table["id"], folds["id"], "make oof")
    if not np.array_equal(table["fold"].to_numpy(), folds["fold"].to_numpy()):
        raise BadInput(f"{path}: column fold differs from the run's folds; delete it and run `make oof` again")
    covered = ~table[columns(MEAN)].isna().all(axis=1).to_numpy()
    if not partial and not covered.all():
        missing = sorted(set(table.loc[~covered, "fold"].tolist()))
        raise BadInput(
            f"{path}: no predictions for folds {missing}; run `make oof` without FOLDS, or pass the same FOLDS on"
        )
    for fold, part in pd.Series(covered).groupby(table["fold"]):
        if part.nunique() > 1:
            raise BadInput(f"{path}: fold {fold} is covered in part; delete the file and run `make oof` again")
    return _predictions(path, table, covered, metadata)


def read_test(path: str | Path, ids: Sequence[str]) -> Predictions:
    """Reads test predictions for just these ids in this order; raises BadInput as `read` does."""
    path = Path(path)
    table, metadata = _load(path)
    check_ids(path, table["id"], pd.Series(list(ids), dtype="str"), "make oof")
    return _predictions(path, table, np.ones(len(table), dtype=bool), metadata)


def _load(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    if not path.exists():
        base = path.name.split(".")[0]
        raise BadInput(f"{path}: no such file; run `make {STACK if base == STACK else f'oof-{base}'}` first")
    table = read_table(path)
    missing = [name for name in ("id", *columns(MEAN)) if name not in table.columns]
    if missing:
        raise BadInput(f"{path}: column {missing[0]} is missing; delete the file and run `make oof` again")
    return table, read_metadata(path)


def _predictions(path: Path, table: pd.DataFrame, covered: np.ndarray, metadata: dict[str, Any]) -> Predictions:
    values: dict[str, np.ndarray | None] = {}
    for variant in VARIANTS:
        values[variant] = None
        if columns(variant)[0] in table.columns:
            array = table[columns(variant)].to_numpy(dtype=np.float64)
            # Tables written before there was a time budget lack the column: there all rows were read in both orders.
            budgeted = variant == SWAPPED and BOTH_ORDERS in table.columns
            required = table[BOTH_ORDERS].to_numpy(dtype=bool) if budgeted else covered
            check_simplex(path, array, required, table["id"])
            values[variant] = array
    mean = values[MEAN]
    assert mean is not None  # _load refused a table without these columns
    return Predictions(mean, values[PLAIN], values[SWAPPED], covered, metadata)


def check_ids(path: Path, ids: pd.Series, expected: pd.Series, command: str) -> None:
    """Raises BadInput unless a file's ids are the expected ones in their order; `command` makes the file again.

    Tables are put side by side by nothing but their order, so every one that is read is checked here.
    """
    again = f"delete the file and run `{command}` again"
    # Lists and sets of Python: for 2,000 ids they take 1 ms, `isin` on a text column of pandas 29 ms.
    have, want = ids.tolist(), expected.tolist()
    present, wanted = set(have), set(want)
    if len(present) < len(have):
        raise BadInput(f"{path}: id {plain(ids[ids.duplicated()].iloc[0])} occurs more than once; {again}")
    unknown = next((name for name in have if name not in wanted), None)
    if unknown is not None:
        raise BadInput(f"{path}: id {plain(unknown)} is not a battle of this run; {again}")
    missing = next((name for name in want if name not in present), None)
    if missing is not None:
        raise BadInput(f"{path}: id {plain(missing)} is missing; {again}")
    if have != want:
        raise BadInput(f"{path}: its ids are in another order than the run's; {again}")


def check_simplex(path: str | Path, values: np.ndarray, covered: np.ndarray, ids: pd.Series) -> None:
    """Raises BadInput unless `values` is (rows, 3), on the simplex where `covered` and there or NaN elsewhere."""
    if values.shape != (len(ids), CLASSES):
        raise BadInput(f"{path}: probabilities have shape {values.shape}, expected ({len(ids)}, {CLASSES})")
    with np.errstate(invalid="ignore"):
        good = np.isfinite(values).all(axis=1) & (values >= 0).all(axis=1)
        good &= np.abs(values.sum(axis=1) - 1) <= TOLERANCE
    good |= ~covered & np.isnan(values).all(axis=1)
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise BadInput(
            f"{path}: row {row + 1} (id {plain(ids.iloc[row])}) holds {values[row].tolist()}; "
            "a row must be three finite probabilities that sum to 1"
        )
