import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from battles.content import column_hash
from battles.errors import BadInput
from battles.files import (
    atomic,
    column_names,
    content_hash,
    read_json,
    read_metadata,
    read_table,
    table_hash,
    write_if_changed,
    write_json,
    write_table,
)

MAKE_AGAIN = "delete it and give the same call of make again, which makes it anew"
METADATA = {"base": "x", "n": 2}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fail_half_way() -> None:
        with atomic(path) as temporary:
            temporary.write_text("new")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_unchanged_content_keeps_the_files_time(tmp_path: Path) -> None:
    path = tmp_path / "stamp.json"
    assert write_if_changed(path, "1")
    before = path.stat().st_mtime_ns
    assert not write_if_changed(path, "1")
    assert path.stat().st_mtime_ns == before
    assert write_if_changed(path, "2")


def test_a_stamp_of_broken_bytes_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "stamp.json"
    path.write_bytes(b"\xff\xfe{")
    assert write_if_changed(path, "1")
    assert path.read_text() == "1"


def _table(rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    values = rng.random(rows)
    return pd.DataFrame(
        {
            "id": [f"é{number}" for number in range(rows)],
            "text": ["x" * int(size) for size in rng.integers(0, 40, rows)],
            "single": rng.random(rows).astype(np.float32),
            "double": np.where(values < 0.1, np.nan, values),
            "fold": rng.integers(0, 5, rows),
            "swapped": values < 0.5,
        }
    )


def test_tables_keep_values_and_metadata(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    for table in (_table(), _table(0), _table().assign(text=None)):
        write_table(path, table, METADATA)
        pd.testing.assert_frame_equal(read_table(path), table, check_exact=True)
        pd.testing.assert_frame_equal(read_table(path, columns=["fold", "id"]), table[["fold", "id"]])
        assert read_metadata(path) == METADATA
        assert column_names(path) == list(table.columns)


def _refusal(call: Callable[[], object], path: Path) -> str:
    with pytest.raises(BadInput) as refused:
        call()
    said = str(refused.value)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    assert len(said) < 600
    return said


def test_no_flipped_bit_changes_a_table_unnoticed(tmp_path: Path) -> None:
    path, table, rng = tmp_path / "t.parquet", _table(), random.Random(5)
    write_table(path, table, METADATA)
    good = path.read_bytes()
    footer = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    noticed = 0
    for number in range(600):
        start = footer if number % 2 else 0  # pages have checksums, the footer has none
        bit = rng.randrange(start * 8, len(good) * 8)
        changed = bytearray(good)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            found, metadata = read_table(path), read_metadata(path)
        except BadInput:
            _refusal(lambda: (read_table(path), read_metadata(path)), path)
            noticed += 1
        else:  # what says nothing of the content: statistics, the writer's name, …
            pd.testing.assert_frame_equal(found, table, check_exact=True)
            assert metadata == METADATA
    assert noticed > 300


def test_a_table_that_another_program_wrote_again_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, _table(), METADATA)
    whole = pq.read_table(path)
    fold = pa.array([(number + 1) % 5 for number in range(len(whole))])
    for changed, reason in (
        (whole.set_column(4, "fold", fold), "column fold is not what was written"),
        (whole.slice(1), "column id is not what was written"),
        (whole.select(["text", "id", "single", "double", "fold", "swapped"]), "metadata is not what was written"),
        (whole.drop_columns(["text"]), "metadata is not what was written"),
        (whole.replace_schema_metadata({**whole.schema.metadata, b"battles": b"{}"}), "metadata is not what"),
        (whole.replace_schema_metadata(None), "no hash of its content"),
    ):
        pq.write_table(changed, path)
        assert reason in _refusal(lambda: read_table(path), path)
    # A column that is not read is not in the way of the others.
    pq.write_table(whole.set_column(4, "fold", fold), path)
    assert len(read_table(path, columns=["id", "double"])) == 300
    assert "column fold" in _refusal(lambda: read_table(path, columns=["fold"]), path)


@pytest.mark.parametrize("read", [read_table, read_metadata, column_names])
def test_what_is_no_table_is_refused_in_one_line(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "t.parquet"
    assert _refusal(lambda: read(path), path).endswith("no such file; " + MAKE_AGAIN)
    write_table(path, _table(), METADATA)
    good = path.read_bytes()
    for left in (good[: len(good) // 2], b"", b"PAR1", good[:-1], good[-12:], b"id,fold\n1,2\n", good[:4] + good[-8:]):
        path.write_bytes(left)
        assert "damaged (" in _refusal(lambda: read(path), path)
    path.unlink()
    path.mkdir()
    _refusal(lambda: read(path), path)


def test_a_refusal_says_what_the_reader_knows_of_the_fix(tmp_path: Path) -> None:
    said = _refusal(lambda: read_table(tmp_path / "t.parquet", fix="run `make oof`"), tmp_path / "t.parquet")
    assert said.endswith(": no such file; run `make oof`")
    write_table(tmp_path / "t.parquet", _table(), METADATA)
    said = _refusal(lambda: read_table(tmp_path / "t.parquet", columns=["id", "nope"]), tmp_path / "t.parquet")
    assert "it has no column nope" in said


def test_a_tables_hash_is_of_its_content(tmp_path: Path) -> None:
    one, other = tmp_path / "one.parquet", tmp_path / "other.parquet"
    write_table(one, _table(), METADATA)
    write_table(other, _table(), {"made": "later"})
    assert one.read_bytes() != other.read_bytes()
    assert table_hash(one) == table_hash(other)
    for changed in (_table().iloc[::-1], _table().rename(columns={"text": "texts"}), _table().assign(fold=1)):
        write_table(other, changed, METADATA)
        assert table_hash(one) != table_hash(other)


def test_a_columns_hash_sees_values_and_not_how_they_lie() -> None:
    texts, numbers = ["a", "", None, "bc"], [1.5, None, 3.0, float("nan")]
    for values, kind in (
        (texts, pa.large_string()),
        (texts, pa.string()),
        (numbers, pa.float64()),
        ([True, None], pa.bool_()),
    ):
        whole = pa.chunked_array([pa.array(values, kind)])
        cut = pa.chunked_array([pa.array([*values[:1], *values], kind).slice(1, 1), pa.array(values[1:], kind)])
        assert column_hash(whole) == column_hash(cut)
    different = [
        pa.array(["ab", "c"]),
        pa.array(["a", "bc"]),
        pa.array(["ab", "c"], pa.large_string()),
        pa.array(["abc"]),
        pa.array(["", "abc"]),
        pa.array([None, "abc"]),
        pa.array(["abc", None]),
        pa.array([0, 1]),
        pa.array([None, 1]),
        pa.array([0, 1], pa.int8()),
        pa.array([0.0, 1.0]),
        pa.array([-0.0, 1.0]),
        pa.array([False, True]),
    ]
    assert len({column_hash(pa.chunked_array([one])) for one in different}) == len(different)
    with pytest.raises(ValueError, match="has no hash"):
        column_hash(pa.chunked_array([pa.array([[1]])]))


def test_json_has_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_json_is_read_as_it_was_written(tmp_path: Path) -> None:
    path, value = tmp_path / "x.json", {"loss": 0.1 + 0.2, "é": [1, None, {"deep": "x\ny"}], "seconds": 1e-12}
    for sealed in (False, True):
        write_json(path, value, sealed)
        assert read_json(path, sealed) == value
    write_json(path, {"folds": {10: 1, 9: (2,)}}, sealed=True)
    assert read_json(path, sealed=True) == {"folds": {"10": 1, "9": [2]}}


def test_broken_json_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    assert "no such file; run `make stack`" in _refusal(lambda: read_json(path, fix="run `make stack`"), path)
    for content, reason in (
        (b"", "Expecting value"),
        (b'{"a": 1', "Expecting"),
        (b"[1]", "not a JSON object"),
        (b"3", "not a JSON object"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "key 'c' stands twice"),
        (b'{"a": "\xff"}', "can't decode"),
        (b"[" * 100_000, "recursion"),
        (b"\0\0", "Expecting value"),
    ):
        path.write_bytes(content)
        assert reason in _refusal(lambda: read_json(path), path)
    path.unlink()
    path.mkdir()
    assert "Is a directory" in _refusal(lambda: read_json(path), path)


def test_a_sealed_object_that_was_changed_is_refused(tmp_path: Path) -> None:
    path, value = tmp_path / "x.json", {"key": "abc", "train_seconds": 12.5, "details": {"rows": [1, 2]}}
    write_json(path, value, sealed=True)
    good = path.read_bytes()
    for bit in range(len(good) * 8):
        changed = bytearray(good)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            found = read_json(path, sealed=True)
        except BadInput:
            _refusal(lambda: read_json(path, sealed=True), path)
        else:  # a line end became another space
            assert found == value
    write_json(path, value)
    assert "changed after it was written" in _refusal(lambda: read_json(path, sealed=True), path)
    edited = json.loads(good) | {"train_seconds": 1.0}
    path.write_text(json.dumps(edited))
    assert "changed after it was written" in _refusal(lambda: read_json(path, sealed=True), path)


def test_the_content_hash_sees_values_not_key_order() -> None:
    assert content_hash({"a": 1, "b": [2]}) == content_hash({"b": [2], "a": 1})
    assert content_hash({"a": 1}) != content_hash({"a": 2})
