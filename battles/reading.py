"""Reading user battles: CSV, JSON Lines and Parquet, plain or compressed, through one validator."""

import csv
import gzip
import io
import itertools
import json
import lzma
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from battles.archives import inner_name, opened
from battles.checks import (
    TEST_COLUMNS,
    TRAINING_COLUMNS,
    RowError,
    are_float_ids,
    check_id,
    check_model,
    check_shares,
    check_text,
    check_votes,
    is_utf8,
    missing_columns,
    shown,
    unique_keys,
)
from battles.errors import BadInput
from battles.schema import ID, MODELS, TEXTS, WINNERS

_KINDS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet"}
_FIX_KIND = "use .csv or .jsonl (each may end in .gz or .zip) or .parquet"
_DAMAGED = (
    EOFError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    gzip.BadGzipFile,
    zipfile.BadZipFile,
    NotImplementedError,
)
_FIX_UTF8 = "save the file as UTF-8, and a lone surrogate as a JSON escape"
_BATCH_ROWS = 2048

Row = dict[str, Any]


def read_battles(path: str | Path, voted: bool, soft: bool = False) -> pd.DataFrame:
    """The battles table (`battles.schema`) of a user's file, in the file's order.

    `voted` asks for a training file with all nine columns; with `soft` its winners may be probabilities (float64). A
    test file needs `id`, `prompt`, `response_a` and `response_b`; its model names are kept when it has both columns,
    its winners are never read. Other columns are dropped. Texts are kept exactly; ids are kept as text. Raises
    BadInput, in one line that names file, row (the first battle is row 1), id, column, value and fix, for anything
    that is not a valid battle.
    """
    path = Path(path)
    columns: dict[str, list[Any]] = {}
    first_row: dict[str, int] = {}
    named_models = False
    for number, row in enumerate(_rows(path, voted), 1):
        if number == 1:
            named_models = all(name in row for name in MODELS)
        try:
            checked = _checked(row, voted, named_models, soft)
        except RowError as problem:
            named = "" if row.get(ID) in (None, "") else f", id {shown(row[ID], 40)}"
            raise BadInput(f"{path}: row {number}{named}, {problem}") from None
        earlier = first_row.setdefault(checked[ID], number)
        if earlier != number:
            raise BadInput(
                f"{path}: row {number}, id {shown(checked[ID], 40)}, column {ID}: row {earlier} has the same id; "
                "give every battle its own"
            )
        for name, value in checked.items():
            columns.setdefault(name, []).append(value)
    if not first_row:
        raise BadInput(f"{path}: no battles, only a header or blank lines; give a file with at least one row")
    if are_float_ids(columns[ID]):
        raise BadInput(
            f"{path}: row 1, id {shown(columns[ID][0], 40)}, column {ID}: every id is a whole number with a decimal "
            "point, so a program has turned integers into floats; write the ids as integers"
        )
    # Column by column, so that the Python strings of a big file are let go as their Arrow copy is made.
    winners = "float64" if soft else "int8"
    types = {name: winners if name in WINNERS else "str" for name in columns}
    return pd.DataFrame({name: pd.Series(columns.pop(name), dtype=types[name]) for name in types})


def _checked(row: Row, voted: bool, named_models: bool, soft: bool) -> Row:
    """A row of the battles table from a raw row. Raises RowError."""
    checked: Row = {ID: check_id(row.get(ID))}
    for name in TRAINING_COLUMNS if voted else TEST_COLUMNS:
        if name not in row:
            raise RowError(name, "missing in this row; every row needs it")
    if named_models:
        checked |= {name: check_model(name, row.get(name)) for name in MODELS}
    checked |= {name: check_text(name, row[name]) for name in TEXTS}
    if voted:
        checked |= dict(zip(WINNERS, check_shares(row) if soft else check_votes(row), strict=True))
    return checked


def _rows(path: Path, voted: bool) -> Iterator[Row]:
    """The raw rows of a file of any known format. Raises BadInput for what cannot be read as that format."""
    if not path.is_file():
        problem = "is a folder, not a file" if path.is_dir() else "no such file"
        raise BadInput(f"{path}: {problem}; give the path of a file of battles")
    if path.stat().st_size == 0:
        raise BadInput(f"{path}: the file is empty; give a file with a header and at least one row")
    try:
        read = {"csv": _csv_rows, "jsonl": _jsonl_rows, "parquet": _parquet_rows}[_kind(path)]
        yield from read(path, voted)
    except _DAMAGED as error:
        raise BadInput(f"{path}: damaged or cut off ({str(error)[:160]}); copy or download it again") from None
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be read ({' '.join(str(error.strerror or error).split())[:160]}); check the file"
        ) from None


def _kind(path: Path) -> str:
    """The format: `csv`, `jsonl` or `parquet`, by the name of the file or of the one file in the archive."""
    name = inner_name(path)
    packed = name != path.name
    kind = _KINDS.get(Path(name).suffix.lower())
    if kind is None or (packed and kind == "parquet"):
        raise BadInput(f"{path}: unknown kind of file{f' inside, {shown(name)}' * packed}; {_FIX_KIND}")
    return kind


def _csv_rows(path: Path, voted: bool) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)  # the default of 128 kB is smaller than some responses
    with opened(path) as file, io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.reader(text, strict=True)
        number = 0
        try:
            header = next(reader, [])
            if not all(map(is_utf8, header)):
                raise BadInput(f"{path}: the header {shown(','.join(header))} is not UTF-8; {_FIX_UTF8}")
            _refuse_missing(path, header, voted)
            for fields in reader:
                if not fields:
                    continue
                number += 1
                if len(fields) != len(header):
                    raise BadInput(
                        f"{path}: row {number}, id {shown(fields[0], 40)}: {len(fields)} fields, the header has "
                        f"{len(header)}; put texts into double quotes and double the quotes inside them"
                    )
                _refuse_not_utf8(path, number, header, fields)
                yield dict(zip(header, fields, strict=True))
        except csv.Error as error:
            raise BadInput(
                f"{path}: row {number + 1}: not valid CSV ({error}); put texts into double quotes, double the quotes "
                "inside them, and check that the file is whole"
            ) from None


def _refuse_not_utf8(path: Path, number: int, header: Sequence[str], fields: Sequence[str]) -> None:
    # Bytes that are no UTF-8 were decoded to lone surrogates, which a CSV cannot hold otherwise.
    for name, field in zip(header, fields, strict=True):
        if not is_utf8(field):
            column = shown(name).strip("'")
            raise BadInput(
                f"{path}: row {number}, id {shown(fields[header.index(ID)], 40)}, column {column}: "
                f"{shown(field)} is not UTF-8; {_FIX_UTF8}"
            )


def _jsonl_rows(path: Path, voted: bool) -> Iterator[Row]:
    number = 0
    with opened(path) as file:
        # Bytes end a line at \n only; text would end it at U+2028 and its like too.
        for line in file:
            if not line.strip(b"\xef\xbb\xbf \t\r\n"):
                continue
            number += 1
            try:
                row = json.loads(line.decode("utf-8-sig"), object_pairs_hook=unique_keys)
            except RowError as problem:
                raise BadInput(f"{path}: row {number}, {problem}") from None
            except UnicodeDecodeError as error:
                raise BadInput(f"{path}: row {number}: not UTF-8 ({error.reason}); {_FIX_UTF8}") from None
            except (ValueError, RecursionError) as error:
                raise BadInput(f"{path}: row {number}: not JSON ({error}); write one JSON object per line") from None
            if not isinstance(row, dict):
                raise BadInput(f"{path}: row {number}: {shown(row)} is not an object; write one JSON object per line")
            if number == 1:
                _refuse_missing(path, list(row), voted)
            yield row


def _parquet_rows(path: Path, voted: bool) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _refuse_missing(path, names, voted)
            wanted = [name for name in (TRAINING_COLUMNS if voted else (ID, *MODELS, *TEXTS)) if name in names]
            first = 1
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=wanted):
                yield from _batch_rows(path, batch, first)
                first += batch.num_rows
    except (pa.ArrowException, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise BadInput(f"{path}: not a readable Parquet file ({line[:160]}); write it again") from None


def _batch_rows(path: Path, batch: pa.RecordBatch, first: int) -> list[Row]:
    """The rows of a batch that begins with row `first`. Raises BadInput for a value that Python cannot hold."""
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError):
        # Parquet does not check that strings are UTF-8, nor that dates are in Python's range.
        for row, name in itertools.product(range(batch.num_rows), batch.schema.names):
            try:
                batch.column(name)[row].as_py()
            except (ValueError, OverflowError) as error:
                problem = " ".join(str(error).split())[:160]
                fix = "write the column as UTF-8 text" if isinstance(error, UnicodeDecodeError) else "write it again"
                raise BadInput(f"{path}: row {first + row}, column {name}: unreadable ({problem}); {fix}") from None
        raise


def _refuse_missing(path: Path, names: Sequence[str], voted: bool) -> None:
    problem = missing_columns(names, voted)
    if problem:
        raise BadInput(f"{path}: {problem}")
