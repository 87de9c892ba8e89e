"""Tables of battles, good and malformed, as rows of cells, and their bytes in each format."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pandas as pd

from battles.checks import TRAINING_COLUMNS

Row = dict[str, Any]
ROWS = 12


def rows(count: int = ROWS) -> list[Row]:
    """Good battles, every cell as text."""
    found = []
    for number in range(count):
        cells = [json.dumps([f"{kind} {number}"]) for kind in ("prompt", "answer", "reply")]
        votes = ["1" if number % 3 == place else "0" for place in range(3)]
        found.append(dict(zip(TRAINING_COLUMNS, [str(number), "model x", "model y", *cells, *votes], strict=True)))
    return found


IDS = [row["id"] for row in rows()]


def as_csv(table: list[Row], header: list[str] | None = None) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(table[0]) if header is None and table else header or list(TRAINING_COLUMNS)
    writer.writerow(names)
    writer.writerows([row.get(name) for name in (table[0] if table else names)] for row in table)
    return text.getvalue().encode("utf-8", "surrogatepass")


def as_jsonl(table: list[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in table).encode()


def as_parquet(table: list[Row]) -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame(table).to_parquet(buffer)
    return buffer.getvalue()


FORMATS: dict[str, Callable[[list[Row]], bytes]] = {"csv": as_csv, "jsonl": as_jsonl, "parquet": as_parquet}


def changed(**cells: Any) -> list[Row]:
    """Good battles but for these cells of the fourth."""
    table = rows()
    table[3] |= cells
    return table


def without(name: str) -> list[Row]:
    """Good battles without a column."""
    return [{key: value for key, value in row.items() if key != name} for row in rows()]


def malformed_tables() -> dict[str, list[Row]]:
    """Tables that no format makes a good training file."""
    twice = rows()
    twice[5]["id"] = twice[2]["id"]
    votes = {"winner_model_a": "0", "winner_model_b": "0", "winner_tie": "0"}
    bad_votes = {
        "2": "a vote of 2",
        "-1": "a vote of -1",
        "NaN": "a vote of NaN",
        "yes": "a vote of yes",
        "": "no vote",
    }
    tables = {f"without {name}": without(name) for name in TRAINING_COLUMNS}
    tables |= {said: changed(**votes | {"winner_tie": vote}) for vote, said in bad_votes.items()}
    return tables | {
        "an id twice": twice,
        "an empty id": changed(id=""),
        "an id of blanks": changed(id="  "),
        "no winner": changed(**votes),
        "two winners": changed(**votes | {"winner_tie": "1", "winner_model_a": "1"}),
        "three winners": changed(**dict.fromkeys(votes, "1")),
        "a prompt that is no JSON": changed(prompt="hello"),
        "a prompt that is an object": changed(prompt='{"a": 1}'),
        "a prompt that is a number": changed(prompt="17"),
        "a prompt of numbers": changed(prompt="[1, 2]"),
        "a prompt of lists": changed(prompt='[["deep"]]'),
        "a deeply nested prompt": changed(prompt="[" * 5000 + "]" * 5000),
        "an unfinished response": changed(response_a='["cut o'),
        "an empty response": changed(response_b=""),
        "a Python list": changed(response_b="['single', None]"),
        "one prompt for all": [row | {"prompt": '["the same"]'} for row in rows()],
    }


def odd_but_good_tables() -> dict[str, list[Row]]:
    """Tables that look wrong and are not."""
    return {
        "good": rows(),
        "further columns": [row | {"language": "de", "note": "x"} for row in rows()],
        "null turns": changed(response_a='[null, ""]', response_b="[]"),
        "a lone surrogate as an escape": changed(response_a='["\\ud83d"]'),
        "a right-to-left text": changed(response_a='["\\u202e\\u05d0\\u0000\\u0007"]', id="אב"),
        "line ends in texts": changed(response_b='["a\\r\\nb\\u2028c\\u0085"]'),
        "a huge field": changed(response_a=json.dumps(["word " * 60_000])),
        "an id like a formula": changed(id='=cmd|"/c calc"!A1'),
        "an id with a leading zero": changed(id="007"),
        "long names": changed(model_a="m" * 3000),
        "missing names": changed(model_a="", model_b=""),
        "votes as words": changed(winner_model_a="true", winner_model_b="false", winner_tie="FALSE"),
        "votes with decimals": changed(winner_model_a="0.0", winner_model_b="1.0", winner_tie="0"),
        "columns in another order": [dict(reversed(row.items())) for row in rows()],
    }
