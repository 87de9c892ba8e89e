"""Files between steps: written whole or not at all, stamped with metadata, hashed by content."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

_METADATA_KEY = b"battles"


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


def write_json(path: str | Path, value: Any) -> None:
    """Writes indented JSON atomically; NaN and infinity are refused (ValueError), JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_if_changed(path: str | Path, text: str) -> bool:
    """Writes `text` unless the file already holds just that, so that `make` sees only real changes."""
    path = Path(path)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    write_text(path, text)
    return True


def write_table(path: str | Path, table: pd.DataFrame, metadata: Mapping[str, Any] | None = None) -> None:
    """Writes a Parquet file atomically, with `metadata` (JSON values) in the file's schema."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    kept = dict(arrow.schema.metadata or {})
    kept[_METADATA_KEY] = json.dumps(dict(metadata or {}), sort_keys=True).encode()
    with atomic(path) as temporary:
        pq.write_table(arrow.replace_schema_metadata(kept), temporary, compression="zstd")


def read_table(path: str | Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Reads a Parquet file that `write_table` wrote."""
    return pq.read_table(path, columns=columns).to_pandas()


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata that `write_table` put into a Parquet file; empty when there is none."""
    raw = (pq.read_schema(path).metadata or {}).get(_METADATA_KEY)
    return json.loads(raw) if raw else {}


def content_hash(value: Any) -> str:
    """SHA-256 (first 16 hex digits) of a JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
