"""Predictions made elsewhere: one table of ids, votes and several bases' probabilities, checked before use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from battles.errors import BadInput, plain
from battles.schema import ID, WINNERS
from battles.swap import NEGATE, SAME
from oof.external_file import LABEL, read_columns, read_names

FOLD, GROUP = "fold", "group"
# Probabilities need not sum to exactly 1: they are divided by their sum. So much is put down to single precision and
# to programs of all kinds, and as much as rounding explains to a base that is written with two to five decimals.
TOLERANCE, DECIMALS = 1e-3, (2, 3, 4, 5)
# As many as prepare.folds may have: every further fold is one more fit of all that is stacked.
MOST_FOLDS = 50


@dataclass(frozen=True)
class ExternalPredictions:
    """The battles that all chosen bases cover, n of `rows` in the file.

    ids (n,) str; labels (n,) 0 A, 1 B, 2 tie; probabilities: base → (n, 3); features: n rows, and in `swap` what
    exchanging A and B does to each; folds (n,) and groups (n,) if the table has them.
    """

    rows: int
    ids: pd.Series
    labels: np.ndarray
    probabilities: Mapping[str, np.ndarray]
    features: pd.DataFrame
    swap: Mapping[str, str]
    folds: np.ndarray | None
    groups: pd.Series | None


def read(path: str | Path, bases: Sequence[str], features: Sequence[str]) -> ExternalPredictions:
    """Reads a Parquet or CSV table: `id, label`, three columns `<base>_winner_…` a base, optional `fold`, `group`.

    Without `bases`, all that the table holds. A base may be NaN where it did not score a row; such rows are left out.
    Raises BadInput, naming column, row, id and fix, for whatever does not hold.
    """
    path = Path(path)
    names = read_names(path)
    known = [name.removesuffix(f"_{WINNERS[0]}") for name in names if name.endswith(f"_{WINNERS[0]}")]
    chosen = list(bases) or known
    _refuse_features(features)
    _refuse_missing(path, names, chosen, known, features)
    probability_columns = {base: [f"{base}_{name}" for name in WINNERS] for base in chosen}
    optional = [name for name in (FOLD, GROUP) if name in names]
    needed = [ID, LABEL, *optional, *features, *(name for columns in probability_columns.values() for name in columns)]
    table = read_columns(path, needed)
    ids = _ids(path, table)
    labels = _labels(path, table, ids)
    probabilities = {
        base: _probabilities(path, table, probability_columns[base], f"base {plain(base)}", ids) for base in chosen
    }
    feature_values = _features(path, table, features, ids)
    covered = np.logical_and.reduce([~np.isnan(values).any(axis=1) for values in probabilities.values()])
    if not covered.any():
        raise BadInput(f"{path}: no row is covered by all of {plain(', '.join(chosen))}; choose fewer BASES")
    folds = _folds(path, table, ids, covered) if FOLD in names else None
    groups = _text(path, table, GROUP, ids) if GROUP in names else None
    if folds is not None and groups is not None:
        _refuse_split_groups(path, folds, groups, ids)
    return ExternalPredictions(
        len(table),
        ids[covered].reset_index(drop=True),
        labels[covered],
        {base: values[covered] for base, values in probabilities.items()},
        feature_values[covered].reset_index(drop=True),
        exchange(features),
        None if folds is None else folds[covered],
        None if groups is None else groups[covered].reset_index(drop=True),
    )


def read_rows(path: str | Path, ids: pd.Series) -> np.ndarray:
    """Probabilities (ids, 3) of these battles from a table of `id` and the three winner columns, in any order.

    Rows of other battles are passed over. Raises BadInput for a battle that is missing, and as `read` does.
    """
    path = Path(path)
    columns = [ID, *WINNERS]
    lacking = [name for name in columns if name not in (names := read_names(path))]
    if lacking:
        raise BadInput(f"{path}: no column {lacking[0]}; it has {plain(', '.join(names))}; give {', '.join(columns)}")
    table = read_columns(path, columns)
    known = _ids(path, table)
    places = pd.Series(np.arange(len(known)), index=known).reindex(ids.to_numpy())
    values = np.full((len(ids), len(WINNERS)), np.nan)
    there = places.notna().to_numpy()
    values[there] = _probabilities(path, table, list(WINNERS), "its probabilities", known)[places[there].astype(int)]
    missing = np.isnan(values).any(axis=1)
    if missing.any():
        first = plain(ids.iloc[int(missing.argmax())])
        raise BadInput(
            f"{path}: no probabilities for {missing.sum()} of the run's {len(ids)} training battles, id {first} the "
            "first of them; give each a row"
        )
    return values


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


def _refuse_features(features: Sequence[str]) -> None:
    """Refuses columns that are no features: a stacker that is given the votes or the split believes them."""
    for name in features:
        if features.count(name) > 1:
            raise BadInput(f"FEATURES: {plain(name)} is given twice; give every column once")
        if name in (ID, LABEL, FOLD, GROUP):
            raise BadInput(f"FEATURES: {name} is no feature: it is the table's own column of that name; leave it out")
        if any(winner in name for winner in WINNERS):
            raise BadInput(
                f"FEATURES: {plain(name)} is a column of votes or of a base's probabilities; leave it out, and name "
                "the base in BASES to stack it"
            )


def _refuse_missing(
    path: Path, names: Sequence[str], bases: Sequence[str], known: Sequence[str], features: Sequence[str]
) -> None:
    if not bases:
        raise BadInput(f"{path}: no base: no column is named <base>_{WINNERS[0]}")
    for name in (ID, LABEL, *(f"{base}_{winner}" for base in bases for winner in WINNERS), *features):
        if name not in names:
            raise BadInput(
                f"{path}: column {plain(name)} is missing; bases in the table: {plain(', '.join(known) or 'none')}"
            )


def _row(path: Path, bad: np.ndarray, ids: pd.Series) -> str:
    place = int(bad.argmax())
    return f"{path}: row {place + 1} (id {plain(ids.iloc[place])})"


def _ids(path: Path, table: pd.DataFrame) -> pd.Series:
    ids = _text(path, table, ID, pd.Series("not known", index=table.index))
    repeated = ids.duplicated().to_numpy()
    if repeated.any():
        raise BadInput(f"{_row(path, repeated, ids)}: that id occurs more than once; keep one row of it")
    return ids


def _text(path: Path, table: pd.DataFrame, column: str, ids: pd.Series) -> pd.Series:
    """A column of names as text: text as it is, whole numbers in digits. Refuses 1.0 and b'1': they were 1 once."""
    values = table[column]
    missing = values.isna().to_numpy()
    if missing.any():
        raise BadInput(f"{_row(path, missing, ids)}: no {column}; give every battle one")
    kind = pd.api.types.infer_dtype(values)
    if kind not in ("string", "integer"):
        raise BadInput(
            f"{path}: column {column} holds {kind} ({plain(values.iloc[0])}); give text or whole numbers, as "
            "the battles have them"
        )
    return values.astype("str")


def _whole_numbers(path: Path, table: pd.DataFrame, column: str, ids: pd.Series, most: int, fix: str) -> np.ndarray:
    """A column of whole numbers from 0 to `most`, (n,) int64; of truths or dates, which look like numbers, none."""
    kind = pd.api.types.infer_dtype(table[column], skipna=True)
    if kind not in ("integer", "floating", "mixed-integer-float", "string", "decimal"):
        raise BadInput(f"{path}: column {column} holds {kind} ({plain(table[column].iloc[0])}); {fix}")
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
    bad = ~((values >= 0) & (values <= most) & (values == np.floor(values)))
    if bad.any():
        value = table[column].iloc[int(bad.argmax())]
        raise BadInput(f"{_row(path, bad, ids)}, column {column}: {plain(value)}; {fix}")
    return values.astype(np.int64)


def _labels(path: Path, table: pd.DataFrame, ids: pd.Series) -> np.ndarray:
    return _whole_numbers(path, table, LABEL, ids, 2, "it must be 0 (A), 1 (B) or 2 (tie)")


def _folds(path: Path, table: pd.DataFrame, ids: pd.Series, covered: np.ndarray) -> np.ndarray:
    folds = _whole_numbers(path, table, FOLD, ids, 2**31, "give whole numbers: 0, 1, 2, …")
    count = len(np.unique(folds[covered]))
    if not 2 <= count <= MOST_FOLDS:
        raise BadInput(
            f"{path}: column {FOLD}: {count} different folds; give 2 to {MOST_FOLDS}, or drop the column to have "
            "prepare.folds made"
        )
    return folds


def _refuse_split_groups(path: Path, folds: np.ndarray, groups: pd.Series, ids: pd.Series) -> None:
    """Refuses battles of one group in several folds: a model that saw the one is no judge of the other."""
    codes = pd.factorize(groups)[0]
    first = np.unique(codes, return_index=True)[1][codes]  # for each row the first one of its group
    split = folds != folds[first]
    if not split.any():
        return
    row = int(split.argmax())
    one, other = (f"row {place + 1} (id {plain(ids.iloc[place])}, fold {folds[place]})" for place in (first[row], row))
    raise BadInput(
        f"{path}: {one} and {other} are both of group {plain(groups.iloc[row])}; {len(np.unique(codes[split]))} groups "
        f"are split over folds: give each one fold, or drop column {FOLD} to have new ones made"
    )


def _probabilities(path: Path, table: pd.DataFrame, columns: list[str], title: str, ids: pd.Series) -> np.ndarray:
    for name in columns:
        _refuse_text(path, table[name])
        if pd.api.types.is_bool_dtype(table[name]):
            raise BadInput(f"{path}: column {plain(name)} is {table[name].dtype}; it must be probabilities")
    values = table[columns].to_numpy(dtype=np.float64)
    absent = np.isnan(values).all(axis=1)
    with np.errstate(invalid="ignore"):
        sums = values.sum(axis=1)
        near = np.abs(sums - 1) <= _tolerance(values[~absent])
        bad = ~absent & ~(np.isfinite(values).all(axis=1) & (values >= 0).all(axis=1) & near)
    if bad.any():
        raise BadInput(
            f"{_row(path, bad, ids)}, {title}: {values[int(bad.argmax())].tolist()}; "
            "give three probabilities that sum to 1, or NaN for all three"
        )
    return np.asarray(values / sums[:, None])


def _tolerance(values: np.ndarray) -> float:
    """How far sums of three of these probabilities (n, 3) may be from 1: half a unit of the last decimal each."""
    for decimals in DECIMALS:
        # Written in single precision, 0.333 is not 0.333.
        if np.abs(values - values.round(decimals)).max(initial=0.0) < 1e-7:
            return max(TOLERANCE, 1.5 * 10.0**-decimals + 1e-6)
    return TOLERANCE


def _features(path: Path, table: pd.DataFrame, names: Sequence[str], ids: pd.Series) -> pd.DataFrame:
    for name in names:
        _refuse_text(path, table[name])
        with np.errstate(over="ignore"):
            bad = ~np.isfinite(table[name].to_numpy(dtype=np.float32))  # as the stacker reads them
        if bad.any():
            raise BadInput(
                f"{_row(path, bad, ids)}, column {plain(name)}: {plain(table[name].iloc[int(bad.argmax())])} is not a "
                "finite number of single precision; fill it in, or scale the column, before"
            )
    return table[list(names)].astype(np.float64)


def _refuse_text(path: Path, column: pd.Series) -> None:
    if not pd.api.types.is_numeric_dtype(column):
        raise BadInput(f"{path}: column {plain(column.name)} is {column.dtype}; it must be numbers")
