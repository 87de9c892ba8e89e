"""Properties of reading and splitting that hold for battles with any Unicode in them."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from battles.checks import UNKNOWN_MODEL
from battles.errors import BadInput, shown
from battles.folds import fold_hash, make_folds, prompt_key
from battles.reading import read_battles
from battles.schema import MODELS, TEXTS, WINNERS, Turns, labels, turns
from battles.swap import swap_battles
from tests.battles import strategies
from tests.battles.strategies import Battle, battles, table, texts

FORMATS = ("csv", "csv.gz", "jsonl", "jsonl of texts", "parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("properties")


def write(folder: Path, rows: list[Battle], how: str, ascii_only: bool) -> Path:
    frame, path = table(rows), folder / f"b.{how.split()[0]}"
    if how.startswith("csv"):
        plain = folder / "b.csv"
        frame.to_csv(plain, index=False, quoting=csv.QUOTE_ALL)
        if how == "csv.gz":
            path.write_bytes(gzip.compress(plain.read_bytes()))
    elif how == "parquet":
        frame.to_parquet(path)
    else:
        kept = frame.to_dict("records") if how == "jsonl of texts" else rows
        # UTF-8 cannot hold lone surrogates, so a writer that is not ASCII escapes those.
        lines = [json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in kept]
        path.write_bytes("".join(lines).encode("utf-8", "surrogatepass" if ascii_only else "backslashreplace"))
    return path


@pytest.mark.parametrize("how", FORMATS)
@settings(derandomize=True, deadline=None, max_examples=40)
@given(rows=battles(), ascii_only=st.booleans())
def test_what_is_written_is_read(folder: Path, how: str, rows: list[Battle], ascii_only: bool) -> None:
    read = read_battles(write(folder, rows, how, ascii_only), voted=True)
    assert read["id"].tolist() == [row["id"] for row in rows]
    for name in TEXTS:
        assert turns(read[name]) == [row[name] for row in rows]
    for name in MODELS:
        assert read[name].tolist() == [row[name] if str(row[name]).strip() else UNKNOWN_MODEL for row in rows]
    for name in WINNERS:
        assert read[name].tolist() == [row[name] for row in rows]
    # What has been read is read again from each format as it is.
    read.to_parquet(folder / "again.parquet")
    pd.testing.assert_frame_equal(read_battles(folder / "again.parquet", voted=True), read)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(line=st.binary(max_size=60) | texts.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_end_in_one_line(folder: Path, line: bytes) -> None:
    for name in ("b.csv", "b.jsonl", "b.parquet", "b.csv.gz", "b.csv.zip"):
        path = folder / name
        path.write_bytes(line)
        with pytest.raises(BadInput) as caught:
            read_battles(path, voted=False)
        assert len(str(caught.value).splitlines()) == 1
        assert str(caught.value).removeprefix(str(path)).isascii()


@settings(derandomize=True, deadline=None, max_examples=100)
@given(value=st.recursive(st.none() | st.booleans() | st.floats() | texts | st.binary(), st.lists), width=st.just(60))
def test_what_is_shown_is_one_short_line(value: object, width: int) -> None:
    line = shown(value, width)
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < width + 40


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    prompts=st.lists(strategies.turns, min_size=3, max_size=12),
    picks=st.lists(st.tuples(st.integers(0, 11), strategies.votes), min_size=6, max_size=60),
    number=st.integers(2, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_folds_partition_the_rows_and_never_split_a_prompt(
    prompts: list[Turns], picks: list[tuple[int, tuple[int, int, int]]], number: int, seed: int
) -> None:
    rows: list[Battle] = [
        {"id": str(place), "prompt": prompts[pick % len(prompts)], **dict(zip(WINNERS, vote, strict=True))}
        for place, (pick, vote) in enumerate(picks)
    ]
    frame = table(rows)
    try:
        folds = make_folds(frame, number, seed)
    except BadInput:
        assume(False)
    assert folds["id"].tolist() == frame["id"].tolist()
    assert np.bincount(folds["fold"]).tolist() == [int((folds["fold"] == k).sum()) for k in range(number)]
    assert np.bincount(folds["fold"]).min() >= 2
    keys = [prompt_key(prompt) for prompt in turns(frame["prompt"])]
    assert folds["group"].tolist() == keys
    assert folds.groupby(keys)["fold"].nunique().max() == 1
    assert fold_hash(folds) == fold_hash(make_folds(frame, number, seed))


@settings(derandomize=True, deadline=None, max_examples=40)
@given(rows=battles())
def test_exchanging_a_and_b_twice_is_the_identity_and_once_exchanges_the_votes(rows: list[Battle]) -> None:
    frame = table(rows)
    swapped = swap_battles(frame)
    pd.testing.assert_frame_equal(swap_battles(swapped), frame)
    assert labels(swapped).tolist() == [(1, 0, 2)[label] for label in labels(frame)]
