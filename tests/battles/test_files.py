from pathlib import Path

import pandas as pd
import pytest

from battles.files import atomic, content_hash, read_metadata, read_table, write_if_changed, write_json, write_table


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


def test_tables_keep_values_and_metadata(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": ["a", "b"], "value": [0.5, float("nan")]})
    write_table(tmp_path / "t.parquet", table, {"base": "x", "n": 2})
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.parquet"), table)
    assert read_metadata(tmp_path / "t.parquet") == {"base": "x", "n": 2}


def test_json_has_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_the_content_hash_sees_values_not_key_order() -> None:
    assert content_hash({"a": 1, "b": [2]}) == content_hash({"b": [2], "a": 1})
    assert content_hash({"a": 1}) != content_hash({"a": 2})
