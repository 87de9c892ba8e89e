import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from battles.schema import TEXTS
from models.transformer.backbone.pretrained import load_tokenizer
from models.transformer.data import token_cache
from models.transformer.data.token_cache import encode_once
from models.transformer.data.tokenization import Encoded, encode
from models.transformer.settings import Transformer
from tests.models.transformer.checkpoints import battles, settings


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of battles of every call that really tokenised."""
    calls: list[int] = []

    def counting(tokenizer: Any, table: pd.DataFrame, base: Transformer) -> Encoded:
        calls.append(len(table))
        return encode(tokenizer, table, base)

    monkeypatch.setattr(token_cache, "encode", counting)
    return calls


def _same(one: Encoded, other: Encoded) -> bool:
    return np.array_equal(one.lengths, other.lengths) and all(
        np.array_equal(one.sequence(row, swapped), other.sequence(row, swapped))
        for row in range(len(one))
        for swapped in (False, True)
    )


def test_a_second_start_reads_what_the_first_made(
    checkpoints: dict[str, Path], tmp_path: Path, made: list[int]
) -> None:
    base = settings(checkpoints["llama"])
    tables = {"train": battles(), "test": battles().head(7), "empty": battles().head(0)}
    first = encode_once(load_tokenizer(base), tables, base, tmp_path)
    assert made == [60, 7, 0]
    again = encode_once(load_tokenizer(base), tables, base, tmp_path)
    assert made == [60, 7, 0]
    for name, table in tables.items():
        expected = encode(load_tokenizer(base), table, base)
        assert _same(first[name], expected)
        assert _same(again[name], expected)
    cut = again["train"].rows(np.array([5, 3]))
    assert np.array_equal(cut.sequence(0, True), first["train"].sequence(5, True))


def test_what_does_not_change_the_tokens_does_not_tokenise_again(
    checkpoints: dict[str, Path], tmp_path: Path, made: list[int]
) -> None:
    base = settings(checkpoints["llama"])
    tokenizer = load_tokenizer(base)
    encode_once(tokenizer, {"train": battles()}, base, tmp_path)
    winners = battles().assign(winner_tie=1)
    encode_once(tokenizer, {"train": winners}, settings(checkpoints["llama"], learning_rate=1e-5, seed=3), tmp_path)
    assert made == [60]


def test_interleaved_turns_are_read_back(checkpoints: dict[str, Path], tmp_path: Path, made: list[int]) -> None:
    short = {"prompt": "Q", "first": "A", "second": "B", "end": "?", "turns": "interleaved"}
    base = settings(checkpoints["llama"], template=short, truncation="proportional")
    two = battles().assign(
        **{name: [json.dumps([str(n), *json.loads(cell)]) for n, cell in enumerate(battles()[name])] for name in TEXTS}
    )
    expected = encode(load_tokenizer(base), two, base)
    assert expected.turns is not None
    assert {len(turns) for turns in expected.turns} == {2, 3}
    for _ in range(2):
        found = encode_once(load_tokenizer(base), {"train": two}, base, tmp_path)["train"]
        assert _same(found, expected)
        assert _same(found.rows(np.array([5, 3])), expected.rows(np.array([5, 3])))
    assert made == [60]


@pytest.mark.parametrize(
    "changes",
    [
        {"max_length": 90},
        {"prompt_share": 0.3},
        {"template": {"end": " ?"}},
        {"template": {"turns": "interleaved"}},
        {"truncation": "proportional"},
    ],
)
def test_other_settings_tokenise_again_and_leave_one_file(
    checkpoints: dict[str, Path], tmp_path: Path, made: list[int], changes: dict[str, Any]
) -> None:
    base, other = settings(checkpoints["llama"]), settings(checkpoints["llama"], **changes)
    tokenizer = load_tokenizer(base)
    encode_once(tokenizer, {"train": battles(), "test": battles().head(7)}, base, tmp_path)
    found = encode_once(tokenizer, {"train": battles()}, other, tmp_path)["train"]
    assert made == [60, 7, 60]
    assert _same(found, encode(tokenizer, battles(), other))
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == ["test", "train"]


def test_other_texts_or_another_tokenizer_tokenise_again(
    checkpoints: dict[str, Path], tmp_path: Path, made: list[int]
) -> None:
    base = settings(checkpoints["llama"])
    encode_once(load_tokenizer(base), {"train": battles()}, base, tmp_path)
    # Two texts change places: what stands in all of them together is the same.
    moved = battles().assign(response_a=battles()["response_b"], response_b=battles()["response_a"])
    encode_once(load_tokenizer(base), {"train": moved}, base, tmp_path)
    other = settings(checkpoints["roberta"])
    encode_once(load_tokenizer(other), {"train": moved}, other, tmp_path)
    assert made == [60, 60, 60]


def _cut(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def _flipped(raw: bytes) -> bytes:
    return raw[:-100] + bytes([raw[-100] ^ 1]) + raw[-99:]


@pytest.mark.parametrize("damage", [_cut, _flipped, lambda raw: b"", lambda raw: b"not numpy", lambda raw: raw[:129]])
def test_a_damaged_file_is_made_again(
    checkpoints: dict[str, Path], tmp_path: Path, made: list[int], damage: Callable[[bytes], bytes]
) -> None:
    base = settings(checkpoints["llama"])
    tokenizer = load_tokenizer(base)
    first = encode_once(tokenizer, {"train": battles()}, base, tmp_path)["train"]
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    del first
    path.write_bytes(damage(whole))
    found = encode_once(tokenizer, {"train": battles()}, base, tmp_path)["train"]
    assert made == [60, 60]
    assert _same(found, encode(tokenizer, battles(), base))
    assert path.read_bytes() == whole
