from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from battles.errors import BadInput
from battles.swap import NEGATE, SAME
from oof.external import exchange, read

CLASSES = ("winner_model_a", "winner_model_b", "winner_tie")


def _table(rows: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"id": [str(1000 + row) for row in range(rows)], "label": np.arange(rows) % 3})
    for base in ("one", "two"):
        table[[f"{base}_{name}" for name in CLASSES]] = rng.dirichlet([1, 1, 1], rows)
    table["length_diff"] = rng.normal(size=rows)
    return table


def _written(folder: Path, table: pd.DataFrame, kind: str = "parquet") -> Path:
    path = folder / f"table.{kind}"
    if kind == "parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_table_is_read_as_it_is(tmp_path: Path, kind: str) -> None:
    table = _table()
    found = read(_written(tmp_path, table, kind), ["two", "one"], ["length_diff"])
    assert found.ids.tolist() == table["id"].tolist()
    assert found.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert list(found.probabilities) == ["two", "one"]
    assert np.allclose(found.probabilities["one"], table[[f"one_{name}" for name in CLASSES]])
    assert found.features["length_diff"].tolist() == pytest.approx(table["length_diff"].tolist())
    assert (found.folds, found.groups) == (None, None)


def test_rows_that_a_chosen_base_did_not_score_are_left_out(tmp_path: Path) -> None:
    table = _table()
    table.loc[[1, 4], [f"two_{name}" for name in CLASSES]] = np.nan
    path = _written(tmp_path, table)
    assert read(path, ["one"], []).ids.tolist() == table["id"].tolist()
    found = read(path, ["one", "two"], [])
    assert found.rows == 6
    assert found.ids.tolist() == ["1000", "1002", "1003", "1005"]
    assert found.labels.tolist() == [0, 2, 0, 2]


def test_its_own_folds_and_groups_are_kept(tmp_path: Path) -> None:
    found = read(_written(tmp_path, _table().assign(fold=[0, 1] * 3, group=list("aabbcc"))), ["one"], [])
    assert found.folds is not None
    assert found.groups is not None
    assert found.folds.tolist() == [0, 1] * 3
    assert found.groups.tolist() == list("aabbcc")


def test_sums_a_little_off_are_put_right(tmp_path: Path) -> None:
    table = _table().round(4)
    found = read(_written(tmp_path, table), ["one"], [])
    assert np.abs(found.probabilities["one"].sum(axis=1) - 1).max() < 1e-12


def test_what_an_exchange_does_is_in_the_columns_name() -> None:
    names = ["words_a", "words_b", "words_diff", "turns", "lonely_a"]
    assert exchange(names) == {
        "words_a": "words_b",
        "words_b": "words_a",
        "words_diff": NEGATE,
        "turns": SAME,
        "lonely_a": SAME,
    }


def _set(column: str, row: int, value: object) -> pd.DataFrame:
    table = _table()
    if not isinstance(value, float):
        table[column] = table[column].astype("object")
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (_table().drop(columns="label"), "column label is missing"),
        (_table().drop(columns="one_winner_tie"), "column one_winner_tie is missing; bases in the table: one, two"),
        (_table().assign(id=["1", "2", "2", "3", "4", "5"]), "id 2 stands more than once"),
        (_table().assign(label=[0, 1, 3, 0, 1, 2]), r"row 3 \(id 1002\), column label: .*3.*; it must be 0"),
        (_set("one_winner_tie", 1, 0.99), r"row 2 \(id 1001\), base one: .* sum to 1"),
        (_set("one_winner_tie", 1, np.nan), r"row 2 \(id 1001\), base one: .* or NaN for all three"),
        (_set("length_diff", 5, np.inf), r"row 6 \(id 1005\), column length_diff: not a finite number"),
        (_table().assign(length_diff="long"), "column length_diff is .*; it must be numbers"),
        (_table().assign(fold=[0, 1, 0.5, 0, 1, 0]), r"row 3 \(id 1002\), column fold: .*0.5"),
        (_table().iloc[:0], "has no rows"),
    ],
)
def test_what_does_not_hold_is_refused(tmp_path: Path, table: pd.DataFrame, expected: str) -> None:
    with pytest.raises(BadInput, match=expected):
        read(_written(tmp_path, table), ["one", "two"], ["length_diff"])


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_text("not a table")
    with pytest.raises(BadInput, match="is neither Parquet nor CSV"):
        read(path, ["one"], [])
    with pytest.raises(BadInput, match="no such file"):
        read(tmp_path / "none.csv", ["one"], [])
