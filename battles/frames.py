"""Battles that are in memory already: a pandas table of a caller becomes a battles table, checked as a file's is."""

from typing import Any

import numpy as np
import pandas as pd

from battles.checks import TEST_COLUMNS, RowError, check_id, check_text, missing_columns, shown
from battles.errors import BadInput
from battles.schema import ID, TEXTS


def checked_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """The battles table (`battles.schema`), without votes and model names, of a table with the competition's columns.

    Texts are lists of turns, or their JSON text. Raises BadInput, in one line that names row (the first is row 1), id,
    column, value and fix, as `battles.reading.read_battles` does for a file.
    """
    if problem := missing_columns([str(name) for name in frame.columns], voted=False):
        raise BadInput(f"battles: {problem}")
    if not len(frame):
        raise BadInput("battles: the table has no rows; give at least one battle")
    first_row: dict[str, int] = {}
    columns: dict[str, list[str]] = {name: [] for name in TEST_COLUMNS}
    for number, cells in enumerate(zip(*(frame[name].tolist() for name in TEST_COLUMNS), strict=True), 1):
        row = dict(zip(TEST_COLUMNS, cells, strict=True))
        try:
            checked = {ID: check_id(row[ID])} | {name: check_text(name, _plain(row[name])) for name in TEXTS}
        except RowError as problem:
            raise BadInput(f"battles: row {number}, id {shown(row[ID], 40)}, {problem}") from None
        earlier = first_row.setdefault(checked[ID], number)
        if earlier != number:
            raise BadInput(
                f"battles: row {number}, id {shown(checked[ID], 40)}: row {earlier} has the same id; "
                "give every battle its own"
            )
        for name, value in checked.items():
            columns[name].append(value)
    return pd.DataFrame({name: pd.Series(values, dtype="str") for name, values in columns.items()})


def _plain(cell: Any) -> Any:
    """A list of turns as Python's own, from what Parquet and Arrow give."""
    return list(cell) if isinstance(cell, tuple | np.ndarray) else cell
