"""The raw rows of a file: CSV, JSON Lines or Parquet, plain or compressed, whatever its columns are."""

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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from battles.archives import inner_name, opened
from battles.checks import RowError, is_utf8, unique_keys
from battles.errors import BadInput, shown
from battles.schema import ID

_KINDS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet"}
_FIX_KIND = "use .csv or .jsonl (each may end in .gz or .zip) or .parquet"
_DAMAGED = (
    EOFError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    gzip.BadGzipFile,
    zipfile.BadZipFile,
    NotImplementedError,  # what zipfile raises for a compression that it does not know
)
_FIX_UTF8 = "save the file as UTF-8, and a lone surrogate as a JSON escape"
_BATCH_ROWS = 2048

Row = dict[str, Any]
# Gets the names of a file's columns before any row is read; returns those to read, or refuses them (BadInput).
Select = Callable[[Sequence[str]], Sequence[str]]
# Is told how many bytes of a file were read since the last call.
Count = Callable[[int], None]


def files_of(path: Path) -> list[Path]:
    """The file itself or, of a folder, the files of rows in it, by name: large tables come in several.

    Raises BadInput where there is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise BadInput(f"{path}: no such file; give the path of a file of battles, or of a folder of them")
    files = sorted(file for file in path.iterdir() if file.is_file() and _is_table(file.name))
    if not files:
        raise BadInput(f"{path}: a folder without a file of battles; {_FIX_KIND}")
    return files


def _is_table(name: str) -> bool:
    suffix = Path(name.lower().removesuffix(".gz").removesuffix(".zip")).suffix
    return suffix in _KINDS and not name.startswith(".")


def raw_rows(path: Path, select: Select, count: Count = lambda size: None) -> Iterator[Row]:
    """The raw rows of a file of any known kind. Raises BadInput for what cannot be read as that kind."""
    if path.stat().st_size == 0:
        raise BadInput(f"{path}: the file is empty; give a file with a header and at least one row")
    try:
        read = {"csv": _csv_rows, "jsonl": _jsonl_rows, "parquet": _parquet_rows}[_kind(path)]
        yield from read(path, select, count)
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


def _csv_rows(path: Path, select: Select, count: Count) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)  # the default of 128 kB is smaller than some responses
    with opened(path, count) as file, io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.reader(text, strict=True)
        number = 0
        try:
            header = next(reader, [])
            if not all(map(is_utf8, header)):
                raise BadInput(f"{path}: the header {shown(','.join(header))} is not UTF-8; {_FIX_UTF8}")
            select(header)
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
    identity = header.index(ID) if ID in header else 0
    for name, field in zip(header, fields, strict=True):
        if not is_utf8(field):
            column = shown(name).strip("'")
            raise BadInput(
                f"{path}: row {number}, id {shown(fields[identity], 40)}, column {column}: "
                f"{shown(field)} is not UTF-8; {_FIX_UTF8}"
            )


def _jsonl_rows(path: Path, select: Select, count: Count) -> Iterator[Row]:
    number = 0
    with opened(path, count) as file:
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
                select(list(row))
            yield row


def _parquet_rows(path: Path, select: Select, count: Count) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            wanted = list(select(names))
            first, size = 1, path.stat().st_size / max(file.metadata.num_rows, 1)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=wanted):
                yield from _batch_rows(path, batch, first)
                first += batch.num_rows
                count(round(batch.num_rows * size))
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
