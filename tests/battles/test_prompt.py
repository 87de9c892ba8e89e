import pandas as pd

from battles.prompt import parts, parts_by_turn, text
from battles.schema import to_json


def test_text_joins_turns_and_survives_nulls_and_lone_surrogates() -> None:
    assert text(["a", None, "b"]) == "a\n\n\n\nb"
    assert text([]) == ""
    lone = text(["x\ud83dy"])
    assert lone == "x\ufffdy"
    assert text(["\ud83d\ude00"]) == "😀"
    lone.encode("utf-8")


def test_turns_are_apart_and_as_many_in_every_part() -> None:
    rows = [(["p", "q"], ["a"], ["b", None]), ([], [], []), (["\ud83d"], ["x"], ["y"])]
    table = pd.DataFrame(
        [[to_json(cell) for cell in row] for row in rows], columns=["prompt", "response_a", "response_b"]
    )
    prompt, first, second = parts_by_turn(table)
    assert prompt == [["p", "q"], [""], ["\ufffd"]]
    assert first == [["a", ""], [""], ["x"]]
    assert second == [["b", ""], [""], ["y"]]
    assert parts(table)[0] == ["p\n\nq", "", "\ufffd"]
