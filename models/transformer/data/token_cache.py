"""Tokenised battles kept on disk, so that a base tokenises once and its later starts read.

One file for each table of battles, `<name>-<key>.npy`: a flat int32 array, read through a memory map, of which every
token array is a view. The key is a hash of all that the tokens depend on; the file begins with its own SHA-256, so that
what was cut off or changed is made anew.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from battles.files import atomic, content_hash
from battles.schema import TEXTS
from models.transformer.data.token_budget import CHARACTERS_PER_TOKEN
from models.transformer.data.tokenization import MARK, Encoded, encode, tokens_around
from models.transformer.settings import Transformer

# Raise it when `encode` gives other tokens for the same texts, tokenizer and settings.
LAYOUT = 2
DIGEST = 8  # a SHA-256 in int32 numbers


def encode_once(
    tokenizer: Any, tables: Mapping[str, pd.DataFrame], settings: Transformer, folder: Path
) -> dict[str, Encoded]:
    """The encoded battles of every named table, read from `folder` or made and written there.

    Files that an earlier call left for the same name under another key are removed. Raises BadInput as `encode` does.
    """
    identity = _identity(tokenizer)  # before it tokenises: that changes what it says of itself
    encoded_tables = {}
    for name, battles in tables.items():
        path = folder / f"{name}-{_key(identity, battles, settings)}.npy"
        encoded = _read(path, settings.template.turns == "interleaved")
        if encoded is None:
            encoded = encode(tokenizer, battles, settings)
            _write(path, encoded)
        for old in folder.glob(f"{name}-*.npy"):
            if old != path:
                old.unlink()
        encoded_tables[name] = encoded
    return encoded_tables


def _identity(tokenizer: Any) -> str:
    """A hash of the tokenizer's rules and vocabulary, wherever its files lie."""
    rules = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else repr(sorted(tokenizer.get_vocab().items()))
    special = [tokenizer.cls_token_id, tokenizer.bos_token_id, tokenizer.sep_token_id]
    return hashlib.sha256(f"{type(tokenizer).__name__} {special} {rules}".encode()).hexdigest()


def _key(identity: str, battles: pd.DataFrame, settings: Transformer) -> str:
    texts = hashlib.sha256()
    for column in TEXTS:
        for cell in battles[column]:
            raw = cell.encode("utf-8", "surrogatepass")
            texts.update(len(raw).to_bytes(8, "little") + raw)
    return content_hash(
        {
            "layout": [LAYOUT, MARK, CHARACTERS_PER_TOKEN],
            "tokenizer": identity,
            "texts": texts.hexdigest(),
            "settings": settings.model_dump(
                mode="json", include={"template", "max_length", "prompt_share", "truncation"}
            ),
        }
    )


def _write(path: Path, encoded: Encoded) -> None:
    parts = encoded.pieces if encoded.turns is None else (*encoded.pieces, [turns.ravel() for turns in encoded.turns])
    pieces = [*encoded.frame, *(part[row] for row in range(len(encoded)) for part in parts)]
    sizes = np.array([len(piece) for piece in pieces], dtype=np.int32)
    body = np.concatenate([np.array([len(pieces)], dtype=np.int32), sizes, *pieces])
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.concatenate([_digest(body), body]))


def _read(path: Path, interleaved: bool) -> Encoded | None:
    """What `_write` wrote; None where there is no file, or one that was cut off or changed."""
    try:
        flat = np.asarray(np.load(path, mmap_mode="r"))
    except (FileNotFoundError, ValueError, EOFError):
        return None
    if flat.dtype != np.int32 or len(flat) <= DIGEST or not np.array_equal(flat[:DIGEST], _digest(flat[DIGEST:])):
        return None
    flat = flat[DIGEST:]
    count = int(flat[0])
    sizes = flat[1 : 1 + count].astype(np.int64)
    ends = (1 + count + sizes.cumsum()).tolist()
    pieces = [flat[begin:end] for begin, end in zip([1 + count, *ends[:-1]], ends, strict=True)]
    # What interleaved turns add: the frame's fifth piece, and how each battle's pieces divide.
    frame, each = (5, 4) if interleaved else (4, 3)
    around = tuple(pieces[:frame])
    prompt, a, b, *turns = (pieces[frame + part :: each] for part in range(each))
    lengths = sizes[frame:].reshape(-1, each)[:, :3].sum(axis=1)
    if not interleaved:
        return Encoded((prompt, a, b), around, lengths + tokens_around(around, 1))
    divided = [piece.reshape(-1, 3) for piece in turns[0]]
    lengths += np.array([tokens_around(around, len(piece)) for piece in divided], dtype=np.int64)
    return Encoded((prompt, a, b), around, lengths, divided)


def _digest(body: np.ndarray) -> np.ndarray:
    return np.frombuffer(hashlib.sha256(np.ascontiguousarray(body).data).digest(), dtype=np.int32)
