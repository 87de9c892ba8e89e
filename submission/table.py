"""The competition's submission table: built from test predictions, checked, written."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from battles.errors import BadInput, plain
from battles.files import atomic
from battles.schema import ID, WINNERS
from oof.probabilities import class_count

# The competition's bounds: no probability below, no sum further from 1. Not the floors of `oof`, which only keep
# logarithms finite.
SMALLEST = 1e-6
TOLERANCE = 1e-6


def build(ids: Sequence[str], probabilities: np.ndarray) -> pd.DataFrame:
    """The table `id,winner_model_a,winner_model_b,winner_tie` of (rows, 3) probabilities on the simplex.

    Each row is mixed with as little of the uniform distribution as lifts every value over 1e-6: a vote that was
    called impossible costs 13.8 nats then, not infinitely many. Without any tie (`oof.probabilities.without_ties`) ties
    stay 0. Raises BadInput as `check` does.
    """
    floor = 1.01 * SMALLEST
    mixed = np.array(probabilities, dtype=np.float64)
    classes = class_count(mixed)
    mixed[:, :classes] = floor + (1 - classes * floor) * mixed[:, :classes]
    table = pd.DataFrame({ID: pd.Series(list(ids), dtype="str")})
    table[list(WINNERS)] = mixed
    check(table, ids)
    return table


def check(table: pd.DataFrame, ids: Sequence[str]) -> None:
    """Raises BadInput unless the table has the competition's columns, just these ids in this order, and every
    row finite, inside [1e-6, 1] and summing to 1 within 1e-6. Ties may be 0 if they are so in all rows."""
    expected = [ID, *WINNERS]
    if list(table.columns) != expected:
        raise BadInput(f"submission: columns are {plain(list(table.columns))}, the competition's are {expected}")
    table_ids = table[ID].tolist()
    if len(table_ids) != len(ids):
        raise BadInput(f"submission: {len(table_ids)} rows for {len(ids)} test battles; predict every battle once")
    for row, (have, want) in enumerate(zip(table_ids, ids, strict=True), start=1):
        if have != want:
            raise BadInput(
                f"submission: row {row} has id {plain(have)}, the test file has {plain(want)} there; keep its order"
            )
    values = table[list(WINNERS)].to_numpy(dtype=np.float64)
    floored = values[:, : class_count(values)]
    good = np.isfinite(values).all(axis=1) & (floored >= SMALLEST).all(axis=1) & (values >= 0).all(axis=1)
    good &= (values <= 1).all(axis=1)
    good &= np.abs(values.sum(axis=1) - 1) <= TOLERANCE
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise BadInput(
            f"submission: row {row + 1} (id {plain(table_ids[row])}) holds {values[row].tolist()}; "
            f"each row must be finite, inside [{SMALLEST}, 1] and sum to 1"
        )


def to_csv(table: pd.DataFrame) -> str:
    """The CSV text, with nine decimals: rows still sum to 1 within 2e-9."""
    return table.to_csv(index=False, float_format="%.9f", lineterminator="\n")


def write(path: str | Path, table: pd.DataFrame, ids: Sequence[str]) -> None:
    """Writes the CSV atomically.

    What was written is read and checked as `check` does before it takes the place of an earlier file.
    """
    with atomic(path) as temporary:
        temporary.write_text(to_csv(table), encoding="utf-8")
        check(read(temporary), ids)


def read(path: str | Path) -> pd.DataFrame:
    """Reads a submission with its ids as text, for `check`."""
    return pd.read_csv(path, dtype={ID: "str"}, keep_default_na=False)
