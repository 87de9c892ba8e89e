"""Column names of the competition and the few views of a battles table that everybody needs.

A *battles table* is a pandas DataFrame with the columns `id` (str), `model_a`, `model_b` (str; a test
table may lack them), `prompt`, `response_a`, `response_b` (str: the JSON text of a list of turns, each a
string or null) and, for a training table, `winner_model_a`, `winner_model_b`, `winner_tie` (int8, one 1 a row).
The turns stay JSON text because lone surrogates, which real battles hold, cannot be written as UTF-8.
"""

import json
from collections.abc import Iterable

import numpy as np
import pandas as pd

ID = "id"
MODELS = ("model_a", "model_b")
TEXTS = ("prompt", "response_a", "response_b")
WINNERS = ("winner_model_a", "winner_model_b", "winner_tie")
CLASSES = 3

Turns = list[str | None]


def turns(column: Iterable[str]) -> list[Turns]:
    """The decoded turns of a text column of a battles table, one list per row."""
    return [json.loads(cell) for cell in column]


def to_json(row: Turns) -> str:
    """The JSON text of one row's turns, ASCII only, so that lone surrogates survive as escapes."""
    return json.dumps(row, ensure_ascii=True)


def labels(table: pd.DataFrame) -> np.ndarray:
    """The votes as class numbers, shape (rows,), int64: 0 A wins, 1 B wins, 2 tie."""
    return table[list(WINNERS)].to_numpy().argmax(axis=1)
