"""Predictions made elsewhere: one table of ids, votes and several bases' probabilities, checked before use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.schema import WINNERS
from battles.swap import NEGATE, SAME

LABEL, FOLD, GROUP = "label", "fold", "group"
# Sums of probabilities written with few digits; they are divided by their sum.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Elsewhere:
    """The battles that all chosen bases cover, n of `rows` in the file.

    ids (n,) str; labels (n,) 0 A, 1 B, 2 tie; probabilities: base → (n, 3); features: n rows, their exchange in `swap`;
    folds (n,) and groups (n,) if the table has them.
    """

    rows: int
    ids: pd.Series
    labels: np.ndarray
    probabilities: Mapping[str, np.ndarray]
    features: pd.DataFrame
    swap: Mapping[str, str]
    folds: np.ndarray | None
    groups: pd.Series | None


def read(path: str | Path, bases: Sequence[str], features: Sequence[str]) -> Elsewhere:
    """Reads a Parquet or CSV table: `id, label`, three columns `<base>_winner_…` a base, optional `fold`, `group`.

    Without `bases`, all that the table holds. A base may be NaN where it did not score a row; such rows are left out.
    Raises BadInput, naming column, row, id and fix, for whatever does not hold.
    """
    path = Path(path)
    table = _load(path)
    known = [name.removesuffix(f"_{WINNERS[0]}") for name in table.columns if name.endswith(f"_{WINNERS[0]}")]
    chosen = list(bases) or known
    if not chosen:
        raise BadInput(f"{path}: no base: no column is named <base>_{WINNERS[0]}")
    _refuse_missing(path, table, chosen, known, features)
    ids = _ids(path, table)
    values = {name: _probabilities(path, table, name, ids) for name in chosen}
    covered = np.logical_and.reduce([~np.isnan(found).any(axis=1) for found in values.values()])
    if not covered.any():
        raise BadInput(f"{path}: no row is covered by all of {', '.join(chosen)}; choose fewer BASES")
    labels = _labels(path, table, ids)
    return Elsewhere(
        len(table),
        ids[covered].reset_index(drop=True),
        labels[covered],
        {name: found[covered] for name, found in values.items()},
        _features(path, table, features, ids)[covered].reset_index(drop=True),
        exchange(features),
        _folds(path, table, ids)[covered] if FOLD in table.columns else None,
        table.loc[covered, GROUP].astype("str").reset_index(drop=True) if GROUP in table.columns else None,
    )


def exchange(features: Sequence[str]) -> dict[str, str]:
    """What exchanging A and B does to feature columns, by their names.

    `x_a` and `x_b` change places, a name that ends in `_diff` changes its sign, any other column stays.
    """
    result = {}
    for name in features:
        partner = f"{name[:-2]}{'_b' if name.endswith('_a') else '_a'}"
        paired = name.endswith(("_a", "_b")) and partner in features
        result[name] = partner if paired else NEGATE if name.endswith("_diff") else SAME
    return result


def _load(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise BadInput(f"TABLE: {path}: no such file")
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype={"id": "str"})
    except (ValueError, OSError) as error:
        raise BadInput(f"TABLE: {path} is neither Parquet nor CSV ({str(error).splitlines()[0]})") from None
    if table.empty:
        raise BadInput(f"TABLE: {path} has no rows")
    return table.reset_index(drop=True)


def _refuse_missing(
    path: Path, table: pd.DataFrame, bases: Sequence[str], known: Sequence[str], features: Sequence[str]
) -> None:
    needed = ["id", LABEL, *(f"{base}_{name}" for base in bases for name in WINNERS), *features]
    for name in needed:
        if name not in table.columns:
            raise BadInput(f"{path}: column {name} is missing; bases in the table: {', '.join(known) or 'none'}")
    for name in (*features, *needed[2 : 2 + 3 * len(bases)]):
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise BadInput(f"{path}: column {name} is {table[name].dtype}; it must be numbers")


def _ids(path: Path, table: pd.DataFrame) -> pd.Series:
    ids = table["id"]
    if ids.isna().any():
        raise BadInput(f"{path}: row {int(ids.isna().argmax()) + 1} has no id; give every battle one")
    ids = ids.astype("str")
    if ids.duplicated().any():
        raise BadInput(f"{path}: id {ids[ids.duplicated()].iloc[0]} stands more than once; keep one row of it")
    return ids


def _row(path: Path, bad: np.ndarray, ids: pd.Series) -> str:
    place = int(bad.argmax())
    return f"{path}: row {place + 1} (id {ids.iloc[place]})"


def _labels(path: Path, table: pd.DataFrame, ids: pd.Series) -> np.ndarray:
    values = pd.to_numeric(table[LABEL], errors="coerce").to_numpy(dtype=np.float64)
    bad = ~np.isin(values, (0, 1, 2))
    if bad.any():
        found = table[LABEL].iloc[int(bad.argmax())]
        raise BadInput(f"{_row(path, bad, ids)}, column {LABEL}: {found!r}; it must be 0 (A), 1 (B) or 2 (tie)")
    return values.astype(np.int64)


def _probabilities(path: Path, table: pd.DataFrame, base: str, ids: pd.Series) -> np.ndarray:
    values = table[[f"{base}_{name}" for name in WINNERS]].to_numpy(dtype=np.float64)
    absent = np.isnan(values).all(axis=1)
    with np.errstate(invalid="ignore"):
        sums = values.sum(axis=1)
        bad = ~absent & ~(np.isfinite(values).all(axis=1) & (values >= 0).all(axis=1) & (np.abs(sums - 1) <= TOLERANCE))
    if bad.any():
        found = values[int(bad.argmax())].tolist()
        raise BadInput(
            f"{_row(path, bad, ids)}, base {base}: {found}; "
            "give three probabilities that sum to 1, or NaN for all three"
        )
    return np.asarray(values / sums[:, None])


def _features(path: Path, table: pd.DataFrame, names: Sequence[str], ids: pd.Series) -> pd.DataFrame:
    for name in names:
        bad = ~np.isfinite(table[name].to_numpy(dtype=np.float64))
        if bad.any():
            raise BadInput(f"{_row(path, bad, ids)}, column {name}: not a finite number; fill it in before")
    return table[list(names)].astype(np.float64)


def _folds(path: Path, table: pd.DataFrame, ids: pd.Series) -> np.ndarray:
    values = pd.to_numeric(table[FOLD], errors="coerce").to_numpy(dtype=np.float64)
    bad = ~(values >= 0) | (values != np.floor(values))
    if bad.any():
        raise BadInput(
            f"{_row(path, bad, ids)}, column {FOLD}: {table[FOLD].iloc[int(bad.argmax())]!r}; give 0, 1, 2, …"
        )
    return values.astype(np.int64)
