"""Reading some columns of a user's Parquet or CSV table, and refusing a file that is neither."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from battles.errors import BadInput, plain

T = TypeVar("T")
LABEL = "label"
_TEXT_COLUMNS = ("id", "group")


def read_names(path: Path) -> list[str]:
    """The names of the table's columns; raises BadInput for no file, another kind of file or two columns of a name."""
    if not path.is_file():
        raise BadInput(f"TABLE: {path}: no such file")
    names = _read(path, _parquet_names if _is_parquet(path) else _csv_names)
    for name, count in Counter(names).items():
        if count > 1:
            raise BadInput(f"{path}: column {plain(name)} occurs {count} times; keep one of them")
    return names


def read_columns(path: Path, names: Sequence[str]) -> pd.DataFrame:
    """These columns of the table, in rows numbered from 0; raises BadInput for a broken or an empty table."""
    reader = _parquet_columns if _is_parquet(path) else _csv_columns
    table = _read(path, lambda path: reader(path, names))
    if table.empty:
        raise BadInput(f"TABLE: {path} has no rows")
    return table.reset_index(drop=True)


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix == ".parquet" or file.read(4) == b"PAR1"


def _read(path: Path, reader: Callable[[Path], T]) -> T:
    try:
        return reader(path)
    except (ValueError, OSError, pa.ArrowException) as error:
        reason = plain((str(error).splitlines() or [""])[0])
        raise BadInput(f"TABLE: {path} is neither Parquet nor CSV in UTF-8 ({reason}); write it again") from None


def _parquet_names(path: Path) -> list[str]:
    return list(pq.read_schema(path).names)


def _csv_names(path: Path) -> list[str]:
    # Without a header pandas does not rename the second of two columns of a name.
    first_line = pd.read_csv(path, header=None, nrows=1, dtype="str", keep_default_na=False)
    return [str(name) for name in first_line.iloc[0]]


def _parquet_columns(path: Path, names: Sequence[str]) -> pd.DataFrame:
    table = pq.read_table(path, columns=list(names))
    table.validate(full=True)  # text that is not UTF-8 would only be noticed where it is used
    # A column that pandas had as its index is a column like any other.
    frame = table.to_pandas(ignore_metadata=True)
    categories = {name: kind.categories.dtype for name, kind in frame.dtypes.items() if hasattr(kind, "categories")}
    return frame.astype(categories)


def _csv_columns(path: Path, names: Sequence[str]) -> pd.DataFrame:
    # Ids and groups stay as they are written: 007 is not 7.
    return pd.read_csv(path, usecols=list(names), dtype={name: "str" for name in _TEXT_COLUMNS if name in names})
