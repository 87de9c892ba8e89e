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
    given = read(_written(tmp_path, table, kind), ["two", "one"], ["length_diff"])
    assert given.ids.tolist() == table["id"].tolist()
    assert given.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert list(given.probabilities) == ["two", "one"]
    assert np.allclose(given.probabilities["one"], table[[f"one_{name}" for name in CLASSES]])
    assert given.features["length_diff"].tolist() == pytest.approx(table["length_diff"].tolist())
    assert (given.folds, given.groups) == (None, None)


def test_rows_that_a_chosen_base_did_not_score_are_left_out(tmp_path: Path) -> None:
    table = _table()
    table.loc[[1, 4], [f"two_{name}" for name in CLASSES]] = np.nan
    path = _written(tmp_path, table)
    assert read(path, ["one"], []).ids.tolist() == table["id"].tolist()
    given = read(path, ["one", "two"], [])
    assert given.rows == 6
    assert given.ids.tolist() == ["1000", "1002", "1003", "1005"]
    assert given.labels.tolist() == [0, 2, 0, 2]


def test_its_own_folds_and_groups_are_kept(tmp_path: Path) -> None:
    table = _table().assign(fold=[0, 1] * 3, group=list("ababcb"))
    given = read(_written(tmp_path, table), ["one"], [])
    assert given.folds is not None
    assert given.groups is not None
    assert given.folds.tolist() == [0, 1] * 3
    assert given.groups.tolist() == list("ababcb")


def test_sums_a_little_off_are_put_right(tmp_path: Path) -> None:
    table = _table().round(4)
    given = read(_written(tmp_path, table), ["one"], [])
    assert np.abs(given.probabilities["one"].sum(axis=1) - 1).max() < 1e-12


@pytest.mark.parametrize("decimals", [2, 3, 4])
def test_probabilities_that_were_rounded_are_put_right(tmp_path: Path, decimals: int) -> None:
    table = _table(500).round(decimals)
    columns = [f"one_{name}" for name in CLASSES]
    furthest = np.abs(table[columns].sum(axis=1) - 1).max()
    assert furthest > 0.9 * 10.0**-decimals
    given = read(_written(tmp_path, table.astype(dict.fromkeys(columns, "float32"))), ["one"], [])
    expected = table[columns].to_numpy() / table[columns].sum(axis=1).to_numpy()[:, None]
    assert np.abs(given.probabilities["one"] - expected).max() < 1e-6


def test_more_than_rounding_explains_is_refused(tmp_path: Path) -> None:
    table = _table(500).round(3)
    table.loc[7, [f"one_{name}" for name in CLASSES]] = [0.5, 0.3, 0.198]
    with pytest.raises(BadInput, match=r"row 8 \(id 1007\), base one: .* sum to 1"):
        read(_written(tmp_path, table), ["one"], [])


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
        (_table().assign(id=["1", "2", "2", "3", "4", "5"]), r"row 3 \(id 2\): that id occurs more than once"),
        (_table().assign(label=[0, 1, 3, 0, 1, 2]), r"row 3 \(id 1002\), column label: .*3.*; it must be 0"),
        (_set("one_winner_tie", 1, 0.99), r"row 2 \(id 1001\), base one: .* sum to 1"),
        (_set("one_winner_tie", 1, np.nan), r"row 2 \(id 1001\), base one: .* or NaN for all three"),
        (_set("length_diff", 5, np.inf), r"row 6 \(id 1005\), column length_diff: inf is not a finite number"),
        (_table().assign(length_diff="long"), "column length_diff is .*; it must be numbers"),
        (_table().assign(fold=[0, 1, 0.5, 0, 1, 0]), r"row 3 \(id 1002\), column fold: .*0.5"),
        (_table().assign(fold=[0, 1, np.inf, 0, 1, 0]), r"row 3 \(id 1002\), column fold: inf; give whole"),
        (_table().assign(fold=[0, 1, -1, 0, 1, 0]), r"row 3 \(id 1002\), column fold: -1; give whole"),
        (_table().assign(fold=[0, 1, 1e300, 0, 1, 0]), r"row 3 \(id 1002\), column fold: 1e\+300; give whole"),
        (_table().assign(fold=[True, False] * 3), r"column fold holds boolean \(True\); give whole numbers"),
        (_table().assign(fold=0), "column fold: 1 different folds; give 2 to 50"),
        (_table(60).assign(fold=range(60)), "60 different folds; give 2 to 50, or drop the column"),
        (_table().assign(label=[True, False] * 3), r"column label holds boolean \(True\); it must be 0"),
        (_table().assign(label=pd.to_datetime([0, 1, 2] * 2)), "column label holds datetime64.*; it must be 0"),
        (_table().assign(label=[True, None] * 3), r"column label holds boolean \(True\); it must be 0"),
        (_table().assign(id=np.arange(6.0)), r"column id holds floating \(.*0.0.*\); give text or whole numbers"),
        (_table().assign(id=[b"1", b"2", b"3", b"4", b"5", b"6"]), "column id holds bytes .*; give text or whole"),
        (_table().assign(id=["1", None, "3", "4", "5", "6"]), r"row 2 .*: no id; give every battle one"),
        (_table().assign(group=["a", "b", None, "d", "e", "f"]), r"row 3 \(id 1002\): no group; give every battle one"),
        (_table().assign(group=[1, 2, np.nan, 4, 5, 6]), r"row 3 \(id 1002\): no group; give every battle one"),
        (_table().assign(group=np.arange(6.0)), "column group holds floating .*; give text or whole numbers"),
        (_table().assign(one_winner_tie=[True, False] * 3), "column one_winner_tie is bool; it must be probabilities"),
        (_table().assign(length_diff=1e300), "column length_diff: .*1e.300.* is not a finite number of single"),
        (_table().iloc[:0], "has no rows"),
    ],
)
def test_what_does_not_hold_is_refused(tmp_path: Path, table: pd.DataFrame, expected: str) -> None:
    with pytest.raises(BadInput, match=expected) as refusal:
        read(_written(tmp_path, table), ["one", "two"], ["length_diff"])
    assert "\n" not in str(refusal.value)


def test_a_group_that_is_split_over_folds_is_refused(tmp_path: Path) -> None:
    """What a base learnt of one battle of a prompt, it would be scored with on the other."""
    table = _table().assign(fold=[0, 1, 2, 0, 1, 2], group=["p", "q", "r", "p", "s", "q"])
    expected = r"row 2 \(id 1001, fold 1\) and row 6 \(id 1005, fold 2\) are both of group q; 1 groups are split"
    with pytest.raises(BadInput, match=expected):
        read(_written(tmp_path, table), ["one"], [])
    # A row that no base covers was in some base's training data all the same.
    table.loc[1, [f"one_{name}" for name in CLASSES]] = np.nan
    with pytest.raises(BadInput, match=expected):
        read(_written(tmp_path, table), ["one"], [])
    # Without folds of its own, the new ones keep groups together.
    assert read(_written(tmp_path, table.drop(columns="fold")), ["one"], []).groups is not None


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (["label"], "FEATURES: label is no feature"),
        (["id"], "FEATURES: id is no feature"),
        (["fold"], "FEATURES: fold is no feature"),
        (["group"], "FEATURES: group is no feature"),
        (["length_diff", "one_winner_tie"], "FEATURES: one_winner_tie is a column of votes or of a base's"),
        (["two_winner_model_a"], "FEATURES: two_winner_model_a is a column .* name the base in BASES"),
        (["winner_model_b"], "FEATURES: winner_model_b is a column of votes"),
        (["two_winner_tie_plain"], "FEATURES: two_winner_tie_plain is a column of votes"),
        (["length_diff", "length_diff"], "FEATURES: length_diff is given twice"),
        (["lenght_diff"], "column lenght_diff is missing"),
    ],
)
def test_columns_that_are_no_features_are_refused(tmp_path: Path, features: list[str], expected: str) -> None:
    table = _table().assign(fold=[0, 1] * 3, group=[1, 2] * 3, winner_model_b=0, two_winner_tie_plain=0.1)
    with pytest.raises(BadInput, match=expected):
        read(_written(tmp_path, table), ["one"], features)


def test_whole_numbers_and_categories_are_names_and_text_stays_as_it_is_written(tmp_path: Path) -> None:
    numbered = _table().assign(id=[10, 2, 3, 4, 5, 6], group=pd.Categorical(list("aabbcc")))
    given = read(_written(tmp_path, numbered), ["one"], [])
    assert given.ids.tolist() == ["10", "2", "3", "4", "5", "6"]
    assert given.groups is not None
    assert given.groups.tolist() == list("aabbcc")
    padded = _table().assign(id=["007", "7", "1.0", "x,y", "'", "é"], group=["01", "1", "2", "3", "4", "5"])
    given = read(_written(tmp_path, padded, "csv"), ["one"], [])
    assert given.ids.tolist() == padded["id"].tolist()
    assert given.groups is not None
    assert given.groups.tolist() == padded["group"].tolist()


def test_an_id_that_pandas_had_as_its_index_is_found(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    _table().set_index("id").to_parquet(path)
    assert read(path, ["one"], []).ids.tolist() == _table()["id"].tolist()


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("id,label,label,one_winner_model_a,one_winner_model_b,one_winner_tie\n1,0,1,0.2,0.3,0.5\n")
    with pytest.raises(BadInput, match="column label occurs 2 times"):
        read(path, ["one"], [])


def test_a_refusal_is_one_line_however_long_the_value(tmp_path: Path) -> None:
    for value in ("x" * 5_000_000, "two\nlines\x1b[31m\u202e"):
        for table, features in (
            (_table().assign(label=[value, *"01201"]), []),
            (_table().assign(id=[value, value, *"3456"]), []),
            (_table().rename(columns={"length_diff": value}), [f"{value}_diff"]),
        ):
            with pytest.raises(BadInput) as refusal:
                read(_written(tmp_path, table), ["one"], features)
            assert len(str(refusal.value)) < 1000
            assert "\n" not in str(refusal.value)
            assert str(refusal.value).isprintable()


def test_two_hundred_bases_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"base{number}" for number in range(200)]
    columns = {
        f"{name}_{winner}": values[:, place]
        for name in names
        for values in (rng.dirichlet([1, 1, 1], 500),)
        for place, winner in enumerate(CLASSES)
    }
    table = pd.DataFrame({"id": np.arange(500), "label": rng.integers(0, 3, 500), **columns})
    given = read(_written(tmp_path, table), [], [])
    assert list(given.probabilities) == names
    with pytest.raises(
        BadInput, match="column other_winner_model_a is missing; bases in the table: base0, base1,"
    ) as one:
        read(tmp_path / "table.parquet", ["other"], [])
    assert len(str(one.value)) < 500


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_broken_file_is_read_or_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    path = _written(tmp_path, _table(30).assign(fold=[0, 1, 2] * 10), kind)
    whole = path.read_bytes()
    for trial in range(60):
        broken = bytearray(whole[: rng.integers(len(whole))] if trial < 20 else whole)
        for _ in range(0 if trial < 20 else 5):
            broken[rng.integers(len(broken))] ^= 1 << rng.integers(8)
        path.write_bytes(broken)
        refusal = None
        try:
            given = read(path, ["one", "two"], ["length_diff"])
        except BadInput as raised:
            refusal = str(raised)
        assert refusal.isprintable() if refusal else np.isfinite(given.probabilities["one"]).all()


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = _written(tmp_path, _table().assign(group="zzzzzz"))
    path.write_bytes(path.read_bytes().replace(b"zzzzzz", b"zz\xff\xfezz"))
    with pytest.raises(BadInput, match="is neither Parquet nor CSV in UTF-8"):
        read(path, ["one"], [])
    text = _table().to_csv(index=False)
    for encoding in ("utf-16", "utf-32"):
        (tmp_path / "table.csv").write_text(text, encoding=encoding)
        with pytest.raises(BadInput, match="is neither Parquet nor CSV in UTF-8"):
            read(tmp_path / "table.csv", ["one"], [])


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_text("not a table")
    with pytest.raises(BadInput, match="is neither Parquet nor CSV"):
        read(path, ["one"], [])
    with pytest.raises(BadInput, match="no such file"):
        read(tmp_path / "none.csv", ["one"], [])
