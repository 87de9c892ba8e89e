"""The competition's submission table: built from test predictions, checked, written."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.files import write_text
from battles.schema import CLASSES, ID, WINNERS

SMALLEST = 1e-6
TOLERANCE = 1e-6


def build(ids: Sequence[str], probabilities: np.ndarray) -> pd.DataFrame:
    """The table `id,winner_model_a,winner_model_b,winner_tie` of (rows, 3) probabilities on the simplex.

    Each row is mixed with as little of the uniform distribution as lifts every value over 1e-6: a vote that was
    called impossible costs 13.8 nats then, not infinitely many. Raises BadInput as `check` does.
    """
    floor = 1.01 * SMALLEST
    mixed = floor + (1 - CLASSES * floor) * np.asarray(probabilities, dtype=np.float64)
    table = pd.DataFrame({ID: pd.Series(list(ids), dtype="str")})
    table[list(WINNERS)] = mixed
    check(table, ids)
    return table


def check(table: pd.DataFrame, ids: Sequence[str]) -> None:
    """Raises BadInput unless the table has the competition's columns, just these ids in this order, and every
    row finite, inside [1e-6, 1] and summing to 1 within 1e-6."""
    expected = [ID, *WINNERS]
    if list(table.columns) != expected:
        raise BadInput(f"submission: columns are {list(table.columns)}, the competition's are {expected}")
    found = table[ID].tolist()
    if len(found) != len(ids):
        raise BadInput(f"submission: {len(found)} rows for {len(ids)} test battles; predict every battle once")
    for row, (have, want) in enumerate(zip(found, ids, strict=True), start=1):
        if have != want:
            raise BadInput(f"submission: row {row} has id {have}, the test file has {want} there; keep its order")
    values = table[list(WINNERS)].to_numpy(dtype=np.float64)
    good = np.isfinite(values).all(axis=1) & (values >= SMALLEST).all(axis=1) & (values <= 1).all(axis=1)
    good &= np.abs(values.sum(axis=1) - 1) <= TOLERANCE
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise BadInput(
            f"submission: row {row + 1} (id {found[row]}) holds {values[row].tolist()}; "
            f"each row must be finite, inside [{SMALLEST}, 1] and sum to 1"
        )


def to_csv(table: pd.DataFrame) -> str:
    """The CSV text, with nine decimals: rows still sum to 1 within 2e-9."""
    return table.to_csv(index=False, float_format="%.9f", lineterminator="\n")


def write(path: str | Path, table: pd.DataFrame) -> None:
    """Writes the CSV atomically."""
    write_text(path, to_csv(table))


def read(path: str | Path) -> pd.DataFrame:
    """Reads a submission with its ids as text, for `check`."""
    return pd.read_csv(path, dtype={ID: "str"}, keep_default_na=False)
