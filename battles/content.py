"""Hashes of what a Parquet file holds, kept in the file itself, so that a change made later is noticed on reading.

Page checksums notice a flipped bit in a page, but the footer has none, and a file that another program wrote again has
good ones. So the schema's metadata holds a SHA-256 of every column and one of the metadata: whoever reads a few columns
checks just those.
"""

import hashlib
import json
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

_HASHES = b"battles.sha256"
# What is said of the other columns and of the file, in an order of its own.
_METADATA = ""


def with_hashes(table: pa.Table) -> pa.Table:
    """The table with the hashes of its columns and of its schema's metadata in that metadata."""
    metadata = {key: value for key, value in (table.schema.metadata or {}).items() if key != _HASHES}
    hashes = {name: column_hash(table.column(name)) for name in table.column_names}
    hashes[_METADATA] = _metadata_hash(metadata, hashes)
    return table.replace_schema_metadata({**metadata, _HASHES: json.dumps(hashes).encode()})


def check_metadata(schema: pa.Schema) -> dict[str, str]:
    """The hash of each column as the file states it. Raises ValueError for metadata that was changed."""
    metadata = dict(schema.metadata or {})
    raw = metadata.pop(_HASHES, None)
    if raw is None:
        raise ValueError("it holds no hash of its content: another program or an earlier version wrote it")
    hashes = json.loads(raw)
    stated = hashes.pop(_METADATA, None)
    if list(hashes) != schema.names or stated != _metadata_hash(metadata, hashes):
        raise ValueError("its metadata is not what was written")
    return hashes


def check_columns(table: pa.Table, hashes: Mapping[str, str]) -> None:
    """Raises ValueError for a column that is not what was written."""
    for name in table.column_names:
        if column_hash(table.column(name)) != hashes[name]:
            raise ValueError(f"column {name} is not what was written")


def column_hash(column: pa.ChunkedArray) -> str:
    """SHA-256, in hex, of a column's type and values, independent of how it is cut into chunks.

    Texts count as their lengths and their bytes, everything else as its fixed-width values; what lies under a null does
    not count. Raises ValueError for a type that is neither.
    """
    about = f"{column.type} {len(column)} {column.null_count}".encode()
    nulls, sizes, values = hashlib.sha256(about), hashlib.sha256(), hashlib.sha256()
    for chunk in column.chunks:
        if column.null_count:
            nulls.update(pc.is_null(chunk).cast(pa.uint8()).to_numpy())
        if pa.types.is_large_string(chunk.type) or pa.types.is_string(chunk.type):
            filled = pc.fill_null(chunk, "") if chunk.null_count else chunk
            sizes.update(pc.binary_length(filled).to_numpy())
            values.update(_text_bytes(filled))
        elif pa.types.is_boolean(chunk.type):
            values.update(pc.fill_null(chunk, False).cast(pa.uint8()).to_numpy())
        elif pa.types.is_integer(chunk.type) or pa.types.is_floating(chunk.type):
            values.update(pc.fill_null(chunk, 0).to_numpy())
        elif not pa.types.is_null(chunk.type):
            raise ValueError(f"a column of type {chunk.type} has no hash")
    return hashlib.sha256(nulls.digest() + sizes.digest() + values.digest()).hexdigest()


def _text_bytes(texts: pa.Array) -> memoryview:
    """The bytes of all texts of an array without nulls, one after the other."""
    _, offsets, data = texts.buffers()
    if data is None or not len(texts):
        return memoryview(b"")
    raw = memoryview(offsets).cast("B")
    bounds = raw.cast("q") if pa.types.is_large_string(texts.type) else raw.cast("i")
    return memoryview(data)[bounds[texts.offset] : bounds[texts.offset + len(texts)]]


def _metadata_hash(metadata: Mapping[bytes, bytes], hashes: Mapping[str, str]) -> str:
    parts = [*(part for key in sorted(metadata) for part in (key, metadata[key])), json.dumps(hashes).encode()]
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "little") + part for part in parts)).hexdigest()
