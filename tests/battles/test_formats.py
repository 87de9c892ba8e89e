"""Every public format gives the battle that it holds; what is no battle is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from battles.errors import BadInput
from battles.reading import battles_of, read_battles
from battles.schema import MODELS, TEXTS, WINNERS, labels, turns
from tests.battles import arena_rows
from tests.battles.arena_rows import Row

PROMPT = ["How high is it?", "And in miles?"]
A, B = ["300 m.", None], ["About 1,000 feet.", "0.2."]
# Format → a row of it, its id, its texts, its class.
SCHEMAS: dict[str, tuple[Callable[..., Row], str, tuple[list[Any], ...], int]] = {
    "arena-33k": (arena_rows.arena_33k, "58210e39b3fd4441a2bd4a518bb44c2d", (PROMPT, A, B), 0),
    "arena-100k": (arena_rows.arena_100k, "b0d2b1a6a8d94c7b8e1f", (PROMPT, A, B), 2),
    "arena-140k": (arena_rows.arena_140k, "0a1b2c3d-0000", (PROMPT, A, B), 2),
    "mt-bench": (arena_rows.mt_bench, "81-1-1", (PROMPT[:1], A[:1], B[:1]), 1),
    "wsdm": (arena_rows.wsdm, arena_rows.wsdm()["id"], (["Wie hoch?\n[300]"], ['["300 m"]'], ["Etwa 300 Meter."]), 1),
}
FORMATS = list(SCHEMAS)


def _written(path: Path, rows: list[Row]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:  # CSV has no lists: they are JSON text there
        texts = [{k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()} for row in rows]
        pd.DataFrame(texts).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_found_and_read(name: str, kind: str, tmp_path: Path) -> None:
    row, identity, texts, vote = SCHEMAS[name]
    path = _written(tmp_path / f"b.{kind}", [row()])
    table = read_battles(path, voted=True)
    assert table["id"].tolist() == [identity]
    assert tuple(turns(table[column])[0] for column in TEXTS) == texts
    assert table[list(MODELS)].to_numpy().tolist() == [[row()["model_a"], row()["model_b"]]]
    assert labels(table).tolist() == [vote]
    assert table["winner_tie"].dtype == "int8"
    pd.testing.assert_frame_equal(read_battles(path, voted=True, format=name), table)
    soft = read_battles(path, voted=True, soft=True)
    assert soft[list(WINNERS)].to_numpy().tolist() == table[list(WINNERS)].to_numpy().astype(float).tolist()


@pytest.mark.parametrize("name", FORMATS)
def test_battles_without_votes_are_read_by_their_texts_alone(name: str, tmp_path: Path) -> None:
    row, identity, texts, _ = SCHEMAS[name]
    kept = ("id", "question_id", *TEXTS, "conversation_a", "conversation_b", "turn")
    unvoted = {key: value for key, value in row().items() if key in kept}
    asked = name if name in ("wsdm", "arena-33k") else "auto"
    path = _written(tmp_path / "b.jsonl", [unvoted])
    if name in ("arena-33k", "arena-100k"):
        del unvoted["turn"]  # with it and nothing else it could be MT-bench's
    for table in (read_battles(path, voted=False, format=name), battles_of([unvoted], "frame", format=asked)):
        assert list(table.columns) == ["id", *TEXTS]
        assert table["id"].tolist() == [identity]
        assert tuple(turns(table[column])[0] for column in TEXTS) == texts
    # What was voted is not needed, and not read.
    voted = battles_of([row(winner="nobody")], "frame", format=name)
    assert list(voted.columns) == ["id", *MODELS, *TEXTS]


@pytest.mark.parametrize(
    ("winner", "vote"), [("model_a", 0), ("model_b", 1), ("tie", 2), ("tie (bothbad)", 2), ("both_bad", 2)]
)
@pytest.mark.parametrize("name", FORMATS[:4])
def test_winners_in_words(name: str, winner: str, vote: int) -> None:
    assert labels(battles_of([SCHEMAS[name][0](winner=winner)], "rows", voted=True)).tolist() == [vote]


def test_the_competitions_own_columns_are_the_55k_set(tmp_path: Path) -> None:
    row = {"id": 1, "model_a": "x", "model_b": "y", "prompt": ["p"], "response_a": ["a"], "response_b": [None]}
    path = _written(tmp_path / "b.jsonl", [row | {"winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0}])
    for name in ("auto", "competition", "arena-55k"):
        assert labels(read_battles(path, voted=True, format=name)).tolist() == [1]


def test_the_cups_test_file_is_told_by_its_own_column_or_by_name(tmp_path: Path) -> None:
    row = {key: arena_rows.wsdm()[key] for key in ("id", *TEXTS)}
    with pytest.raises(BadInput, match=r"is not JSON .*; texts that are no lists: FORMAT=wsdm"):
        read_battles(_written(tmp_path / "plain.parquet", [row]), voted=False)
    marked = _written(tmp_path / "marked.parquet", [row | {"scored": True}])
    assert turns(read_battles(marked, voted=False)["prompt"]) == [["Wie hoch?\n[300]"]]


def _messages(*said: tuple[str, Any]) -> list[Row]:
    return [{"role": role, "content": content} for role, content in said]


IMAGE = [{"type": "text", "text": "What is it?"}, {"type": "image", "text": None, "image": "data", "mimeType": "png"}]
WRONG: dict[str, tuple[Row, str]] = {
    "an image": (
        arena_rows.arena_140k(conversation_a=_messages(("user", IMAGE), ("assistant", "x"))),
        "column conversation_a: message 1 holds an image; leave such battles out",
    ),
    "no winner": (arena_rows.arena_33k(winner="nobody"), "column winner: 'nobody' is not a winner; write one of"),
    "winner of null": (arena_rows.arena_100k(winner=None), "column winner: None is not a winner"),  # type: ignore[arg-type]
    "a tie of the cup": (arena_rows.wsdm(winner="tie"), "'tie' is not a winner; write one of model_a, model_b"),
    "another role": (
        arena_rows.arena_33k(conversation_b=_messages(("tool", "x"))),
        "message 1 has the role 'tool'; write user, assistant or system",
    ),
    "an answer to nothing": (
        arena_rows.arena_33k(conversation_a=_messages(("user", "x"), ("assistant", "y"), ("assistant", "z"))),
        "message 3 is an answer to nothing",
    ),
    "other prompts": (
        arena_rows.arena_33k(conversation_a=_messages(("user", "x"), ("assistant", "y"))),
        "the user's messages differ",
    ),
    "no list": (arena_rows.arena_33k(conversation_a="hello"), "'hello' is not JSON; write a JSON list of messages"),
    "no messages": (arena_rows.arena_33k(conversation_a=[1]), "message 1 is 1; write an object with role and content"),
    "a number as content": (
        arena_rows.arena_33k(conversation_a=_messages(("user", 3))),
        "message 1 holds 3; write its content as text",
    ),
    "a part without text": (
        arena_rows.arena_140k(conversation_a=_messages(("user", [{"type": "text"}]))),
        "every part needs a text",
    ),
    "a turn of nothing": (arena_rows.mt_bench(turn=0), "column turn: 0 is not the number of a turn"),
    "a number as text": (arena_rows.wsdm(prompt=3), "column prompt: 3 is not text"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_battle_is_refused_with_its_row(what: str) -> None:
    row, expected = WRONG[what]
    good = {key: value for key, value in row.items() if key in ("id", "question_id")}
    with pytest.raises(BadInput) as refused:
        battles_of([row], "b.parquet", voted=True)
    said = str(refused.value)
    assert said.startswith(f"b.parquet: row 1, id {next(iter(good.values()))!r}, column ")
    assert expected in said


def test_columns_that_are_missing_are_named_in_the_formats_own_words() -> None:
    row = arena_rows.arena_100k()
    del row["winner"]
    with pytest.raises(BadInput, match=r"b: column winner missing, .*a training file needs the votes"):
        battles_of([row], "b", voted=True)
    later = arena_rows.arena_33k(question_id="x")
    del later["conversation_b"]
    with pytest.raises(BadInput, match=r"row 2, id 'x', column conversation_b: missing in this row"):
        battles_of([arena_rows.arena_33k(), later], "b", voted=True)
    with pytest.raises(BadInput, match=r"FORMAT: 'arena'; choose one of auto, "):
        battles_of([row], "b", format="arena")


def test_system_messages_and_missing_answers() -> None:
    conversation = _messages(("system", "Be brief."), ("user", "x"), ("user", "y"), ("assistant", None), ("user", "z"))
    row = arena_rows.arena_33k(conversation_a=conversation, conversation_b=json.dumps(conversation))
    table = battles_of([row], "b", voted=True)
    assert turns(table["prompt"]) == [["x", "y", "z"]]
    assert turns(table["response_a"]) == turns(table["response_b"]) == [[None, None, None]]


def test_judgments_of_one_question_keep_apart_and_the_second_turn_holds_the_first() -> None:
    rows = [arena_rows.mt_bench(), arena_rows.mt_bench(turn=2), arena_rows.mt_bench(judge="expert_1")]
    table = battles_of(rows, "b", voted=True)
    assert table["id"].tolist() == ["81-1-1", "81-2-2", "81-1-3"]
    assert turns(table["prompt"]) == [PROMPT[:1], PROMPT, PROMPT[:1]]


def test_a_folder_of_shards_is_one_table(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in (1, 0):
        rows = [arena_rows.arena_140k(id=f"{number}-{row}") for row in range(2)]
        _written(folder / f"train-{number}.parquet", rows)
    (folder / "README.md").write_text("no battles")
    assert read_battles(folder, voted=True)["id"].tolist() == ["0-0", "0-1", "1-0", "1-1"]
    _written(folder / "train-2.parquet", [arena_rows.arena_140k(id="0-1")])
    with pytest.raises(BadInput, match=r"train-2.parquet: row 1, id '0-1', .*: row 2 of .*train-0.parquet"):
        read_battles(folder, voted=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BadInput, match="a folder without a file of battles"):
        read_battles(empty, voted=True)
