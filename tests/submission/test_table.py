from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from battles.errors import BadInput
from submission.table import SMALLEST, build, check, read, write


def test_certain_rows_are_lifted_off_zero_and_keep_their_order(tmp_path: Path) -> None:
    values = np.array([[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    table = build(["007", "x,1"], values)
    numbers = table.iloc[:, 1:].to_numpy()
    assert numbers.min() >= SMALLEST
    np.testing.assert_allclose(numbers, values, atol=1e-5)
    np.testing.assert_allclose(numbers.sum(axis=1), 1, atol=1e-12)
    write(tmp_path / "submission.csv", table, ["007", "x,1"])
    assert (tmp_path / "submission.csv").read_text().splitlines()[0] == "id,winner_model_a,winner_model_b,winner_tie"
    again = read(tmp_path / "submission.csv")
    assert again["id"].tolist() == ["007", "x,1"]
    check(again, ["007", "x,1"])


def test_where_no_battle_can_be_a_tie_the_tie_stays_zero() -> None:
    values = np.array([[1.0, 0.0, 0.0], [0.4, 0.6, 0.0]])
    table = build(["1", "2"], values)
    assert table["winner_tie"].tolist() == [0.0, 0.0]
    assert table["winner_model_b"].min() >= SMALLEST
    np.testing.assert_allclose(table.iloc[:, 1:].to_numpy(), values, atol=1e-5)
    with pytest.raises(BadInput, match=r"row 1 \(id 1\)"):  # a single row's zero is a tie called impossible
        check(table.assign(winner_tie=[0.0, 0.1], winner_model_b=[1 - table["winner_model_a"][0], 0.5]), ["1", "2"])


def changed(**columns: list[float] | list[str]) -> pd.DataFrame:
    return build(["1", "2"], np.full((2, 3), 1 / 3)).assign(**columns)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (changed(winner_tie=[0.5, 1 / 3]), "sum to 1"),
        (changed(winner_tie=[np.nan, 1 / 3]), "finite"),
        (changed(winner_model_a=[0.0, 1 / 3], winner_model_b=[2 / 3, 1 / 3]), r"row 1 \(id 1\)"),
        (changed(id=["2", "1"]), "row 1 has id 2, the test file has 1"),
        (changed().head(1), "1 rows for 2 test battles"),
        (changed(extra=["a", "b"]), "columns"),
    ],
)
def test_a_bad_submission_is_refused(table: pd.DataFrame, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check(table, ["1", "2"])


def test_ids_come_back_as_they_were(tmp_path: Path) -> None:
    ids = ["", " ", "NA", "1.0", '"', "a\nb", "é", "模", "x" * 1000]
    write(tmp_path / "submission.csv", build(ids, np.full((len(ids), 3), 1 / 3)), ids)
    check(read(tmp_path / "submission.csv"), ids)


def test_what_does_not_come_back_right_does_not_take_the_place_of_a_good_file(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    write(path, changed(), ["1", "2"])
    before = path.read_bytes()
    with pytest.raises(BadInput, match="sum to 1"):
        write(path, changed(winner_tie=[0.5, 0.5]), ["1", "2"])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_refusal_is_short_and_on_one_line() -> None:
    table = build(["a\nb" * 1_000_000], np.full((1, 3), 1 / 3))
    with pytest.raises(BadInput, match="row 1 has id a") as refusal:
        check(table, ["other"])
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 600
