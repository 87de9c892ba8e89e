"""Files between steps: written whole or not at all, and refused in one line when they are not what was written."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from battles.content import check_columns, check_metadata, with_hashes
from battles.errors import BadInput

_METADATA_KEY = b"battles"
_SEAL = "content_sha256"
_MAKE_AGAIN = "delete it and give the same call of make again, which makes it anew"
# What pyarrow raises for bytes that are no Parquet file or were changed: thrift, sizes, types, texts, checksums.
_DAMAGE = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError)
_LONGEST = 160  # characters of another library's message


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is synced and renamed over `path`, else removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except Exception as error:
        error.add_note(f"writing {path}")  # `stages.endings` names the file where the error does not
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, sealed: bool = False) -> None:
    """Writes indented JSON atomically; NaN and infinity are refused (ValueError), JSON has none.

    With `sealed`, `value` is an object and gets a member with its own hash, which `read_json` checks.
    """
    write_text(path, json_text(value, sealed))


def json_text(value: Any, sealed: bool = False) -> str:
    """What `write_json` writes."""
    if sealed:
        value = {**value, _SEAL: _seal(value)}
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def read_json(path: str | Path, sealed: bool = False, fix: str = _MAKE_AGAIN) -> dict[str, Any]:
    """Reads a JSON object, without its seal.

    Raises BadInput, with `fix` as what to do, for a missing, cut off or changed file, for anything but an object, and
    for a key that stands twice.
    """
    try:
        value = json.loads(Path(path).read_bytes().decode("utf-8"), object_pairs_hook=_unique)
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        if sealed and value.pop(_SEAL, None) != _seal(value):
            raise ValueError("it was changed after it was written")
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, error, fix) from None
    return value


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(members)
    if len(value) < len(members):
        twice = next(name for at, (name, _) in enumerate(members) if name in dict(members[:at]))
        raise ValueError(f"key {twice!r} stands twice")
    return value


def _seal(value: Mapping[str, Any]) -> str:
    # Numbers as keys become texts in JSON, and tuples lists.
    text = json.dumps(json.loads(json.dumps(value, allow_nan=False)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_if_changed(path: str | Path, text: str) -> bool:
    """Writes `text` unless the file already holds just that, so that `make` sees only real changes."""
    path = Path(path)
    if path.exists() and path.read_bytes() == text.encode("utf-8"):
        return False
    write_text(path, text)
    return True


def write_table(path: str | Path, table: pd.DataFrame, metadata: Mapping[str, Any] | None = None) -> None:
    """Writes a Parquet file atomically, with `metadata` (JSON values) and hashes of the content in its schema."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    kept = dict(arrow.schema.metadata or {})
    kept[_METADATA_KEY] = json.dumps(dict(metadata or {}), sort_keys=True).encode()
    arrow = with_hashes(arrow.replace_schema_metadata(kept))
    with atomic(path) as temporary:
        pq.write_table(arrow, temporary, compression="zstd", write_page_checksum=True)


def read_table(path: str | Path, columns: list[str] | None = None, fix: str = _MAKE_AGAIN) -> pd.DataFrame:
    """Reads a Parquet file that `write_table` wrote, or `columns` of it.

    Raises BadInput, with `fix` as what to do, for a missing, cut off or changed file; only what is read is checked.
    """
    with _opened(path, fix) as (file, hashes):
        lacking = [name for name in columns or () if name not in hashes]
        if lacking:
            raise ValueError(f"it has no column {lacking[0]}")
        table = file.read(columns=columns)
        check_columns(table, hashes)
        # The file keeps its metadata twice: what says how pandas sees the columns must be what was checked.
        return table.replace_schema_metadata(file.schema_arrow.metadata).to_pandas()


def column_names(path: str | Path, fix: str = _MAKE_AGAIN) -> list[str]:
    """The columns of a Parquet file that `write_table` wrote; raises BadInput as `read_table` does."""
    with _opened(path, fix) as (_, hashes):
        return list(hashes)


def table_hash(path: str | Path, fix: str = _MAKE_AGAIN) -> str:
    """SHA-256 of a table's columns as the file states them: names, types and values, whatever the file's bytes are.

    For keys of what was made from a table; whoever reads the table checks that it holds them. Raises BadInput as
    `read_table` does.
    """
    with _opened(path, fix) as (_, hashes):
        return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()


def read_metadata(path: str | Path, fix: str = _MAKE_AGAIN) -> dict[str, Any]:
    """The metadata that `write_table` put into a Parquet file; raises BadInput as `read_table` does."""
    with _opened(path, fix) as (file, _):
        metadata: dict[str, Any] = json.loads(file.schema_arrow.metadata[_METADATA_KEY])
        return metadata


@contextmanager
def _opened(path: str | Path, fix: str) -> Iterator[tuple[pq.ParquetFile, dict[str, str]]]:
    """An open file and the stated hashes of its columns; whatever cannot be read becomes BadInput."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file, check_metadata(file.schema_arrow)
    except _DAMAGE as error:
        raise damaged(path, error, fix) from None


def damaged(path: str | Path, error: BaseException | str, fix: str) -> BadInput:
    """The refusal of a file that is missing, cut off or not what was written."""
    if isinstance(error, FileNotFoundError):
        return BadInput(f"{path}: no such file; {fix}")
    words = " ".join(str(getattr(error, "strerror", None) or error).split())[:_LONGEST]
    # A thrift error repeats the byte that it found.
    reason = "".join(letter if letter.isprintable() else "?" for letter in words) or type(error).__name__
    return BadInput(f"{path}: damaged ({reason}); {fix}")


def content_hash(value: Any) -> str:
    """SHA-256 (first 16 hex digits) of a JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_hashes(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of files of a folder, by their names in it."""
    return {name: file_hash(folder / name) for name in sorted(names)}


def check_files(folder: Path, hashes: Mapping[str, str], fix: str = _MAKE_AGAIN) -> None:
    """Raises BadInput for a file that is missing or not what `file_hashes` saw."""
    for name, sha256 in hashes.items():
        try:
            found = file_hash(folder / name)
        except OSError as error:
            raise damaged(folder / name, error, fix) from None
        if found != sha256:
            raise damaged(folder / name, "it is not what was written", fix)
