import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from battles.errors import BadInput
from battles.frames import checked_frame
from battles.reading import read_battles


def frame(**changes: list[Any]) -> pd.DataFrame:
    columns: dict[str, list[Any]] = {
        "id": ["b", 7],
        "prompt": [["Hello", None], ["a\ud800"]],
        "response_a": [[""], []],
        "response_b": [("x",), np.array(["y"], dtype=object)],
    }
    return pd.DataFrame(columns | changes)


def test_lists_and_their_json_text_are_the_same_battles(tmp_path: Any) -> None:
    lists = checked_frame(frame())
    rows = [json.loads(cell) for cell in lists["prompt"]]
    assert rows == [["Hello", None], ["a\ud800"]]
    assert lists["id"].tolist() == ["b", "7"]
    texts = frame(**{name: lists[name].tolist() for name in ("prompt", "response_a", "response_b")})
    pd.testing.assert_frame_equal(lists, checked_frame(texts))
    texts.assign(id=["b", "7"]).to_csv(tmp_path / "test.csv", index=False)
    pd.testing.assert_frame_equal(lists, read_battles(tmp_path / "test.csv", voted=False))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": ["b", "b"]}, "row 2, id 'b': row 1 has the same id"),
        ({"id": ["b", 1.5]}, "row 2, id 1.5, column id: 1.5 is a float"),
        ({"prompt": [["x"], "no JSON"]}, "row 2, id 7, column prompt: 'no JSON' is not JSON"),
        ({"response_b": [["x"], [3]]}, "row 2, id 7, column response_b: turn 1 is 3"),
        ({"response_a": [["x"], float("nan")]}, "row 2, id 7, column response_a: nan is not a list"),
    ],
)
def test_what_is_no_battle_is_refused_with_row_and_column(changes: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        checked_frame(frame(**changes))


def test_a_table_without_rows_or_columns_is_refused() -> None:
    with pytest.raises(BadInput, match="no rows"):
        checked_frame(frame().head(0))
    with pytest.raises(BadInput, match="column response_a missing"):
        checked_frame(frame().drop(columns="response_a"))
