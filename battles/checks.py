"""The one validator of user battles, whatever the file's format: a raw row in, a row of the battles table out."""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from battles.errors import shown
from battles.schema import ID, MODELS, TEXTS, WINNERS, Turns, to_json

TRAINING_COLUMNS = (ID, *MODELS, *TEXTS, *WINNERS)
TEST_COLUMNS = (ID, *TEXTS)
UNKNOWN_MODEL = "unknown"

_VOTES = {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0}
# What a column of rounded probabilities may miss.
_ROUNDED = 1e-3
# Line breaks and other control characters, which no line of a CSV keeps safely.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_FLOAT_ID = re.compile(r"-?\d+\.0+")
_LIST_FIX = 'write a JSON list of turns, such as ["Hello"]'


class RowError(ValueError):
    """What is wrong with one row: the column(s), the value and the fix. The reader adds file and row."""

    def __init__(self, column: str, problem: str) -> None:
        super().__init__(f"column {column}: {problem}")
        self.column = column


def missing_columns(names: Sequence[str], needed: Sequence[str], voted: bool) -> str:
    """Why the columns `names` do not hold all that a training (`voted`) or a test file needs, in one line; empty when
    they do."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        return f"column {shown(twice[0])} occurs twice; keep one"
    missing = [name for name in needed if name not in names]
    if not missing:
        return ""
    line = f"column{'s'[: len(missing) > 1]} {', '.join(missing)} missing, found {shown(', '.join(names), 160)}; "
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        return line + "separate the fields with commas"
    if voted and set(missing) <= {*WINNERS, "winner"}:
        return line + "a training file needs the votes; battles without votes go into the test file (TEST=)"
    return line + ("add them with exactly these names" if len(missing) > 1 else "add it with exactly this name")


def unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object (`object_pairs_hook`) whose keys all differ; json.loads would keep the last. Raises RowError."""
    row = dict(pairs)
    if len(row) < len(pairs):
        key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise RowError(shown(key), "the key occurs twice in the object; keep one")
    return row


def check_id(value: Any) -> str:
    """The id as a string: text exactly as it is, an integer in decimal. Raises RowError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float | bytes):
        kind = "a float" if isinstance(value, float) else "bytes"
        raise RowError(ID, f"{shown(value)} is {kind}; write ids as text or integers, and give every battle one")
    if not isinstance(value, str):
        raise RowError(ID, f"{shown(value)} is neither text nor an integer; give the battle an id")
    if not value.strip():
        raise RowError(ID, f"{shown(value)} is empty; give the battle an id")
    if not is_utf8(value):
        raise RowError(ID, f"{shown(value)} holds half of a surrogate pair; use an id that UTF-8 can hold")
    if _CONTROL.search(value):
        raise RowError(ID, f"{shown(value)} holds a line break or a control character; use an id of one line")
    return value


def are_float_ids(ids: Sequence[str]) -> bool:
    """Whether all ids look like `17.0`: integers that a program turned into floats, as pandas does for gaps."""
    return all(map(_FLOAT_ID.fullmatch, ids))


def check_text(column: str, value: Any) -> str:
    """The JSON text of a list of turns, unchanged where it is text that UTF-8 can hold. Raises RowError."""
    if isinstance(value, str):
        turns = _decoded(column, value)
        _check_turns(column, turns)
        return value if is_utf8(value) else to_json(turns)
    if value is None:
        raise RowError(column, "the cell is null; write [] for no turns, [null] for one turn without text")
    _check_turns(column, value)
    return to_json(value)


def check_model(column: str, value: Any) -> str:
    """The model's name; a missing one is `unknown`, as the competition writes it. Raises RowError."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return UNKNOWN_MODEL
    if not isinstance(value, str) or not is_utf8(value):
        raise RowError(column, f"{shown(value)} is not a model's name; write it as text")
    return value if value.strip() else UNKNOWN_MODEL


def check_votes(row: Mapping[str, Any]) -> tuple[int, int, int]:
    """The three votes as 0 or 1, exactly one of them 1. Raises RowError."""
    a, b, tie = (_vote(column, row[column]) for column in WINNERS)
    if a + b + tie != 1:
        winners = "no winner" if a + b + tie == 0 else f"{a + b + tie} winners"
        raise RowError(", ".join(WINNERS), f"{winners} ({a}, {b}, {tie}); exactly one of the three must be 1")
    return a, b, tie


def check_shares(row: Mapping[str, Any]) -> tuple[float, float, float]:
    """The winners as probabilities; sums within 1e-3 of 1 are scaled to 1, votes are probabilities. Raises RowError."""
    a, b, tie = (_share(column, row[column]) for column in WINNERS)
    total = a + b + tie
    if abs(total - 1) > _ROUNDED:
        raise RowError(", ".join(WINNERS), f"{a:g}, {b:g}, {tie:g} sum to {total:g}; probabilities must sum to 1")
    return a / total, b / total, tie / total


def _share(column: str, value: Any) -> float:
    if isinstance(value, str) and value.strip().lower() in _VOTES:
        return float(_VOTES[value.strip().lower()])
    try:
        share = float(value)
    except (TypeError, ValueError, OverflowError):
        share = math.nan
    if not 0 <= share <= 1:
        raise RowError(column, f"{shown(value)} is not a probability; write a number from 0 to 1")
    return share


def _vote(column: str, value: Any) -> int:
    if isinstance(value, str):
        vote = _VOTES.get(value.strip().lower())
    elif isinstance(value, int | float) and value in (0, 1):
        vote = int(value)
    else:
        vote = None
    if vote is None:
        raise RowError(column, f"{shown(value)} is not a vote; write 0 or 1")
    return vote


def _decoded(column: str, cell: str) -> Any:
    try:
        return json.loads(cell)
    except RecursionError:
        raise RowError(column, f"{shown(cell)} is nested too deeply; {_LIST_FIX}") from None
    except ValueError as error:
        text = cell.strip()
        if not text:
            raise RowError(
                column, "the cell is empty; write [] for no turns, [null] for one turn without text"
            ) from None
        if text.startswith(("['", "[None", '["')) and text.endswith("]") and ("'" in text or "None" in text):
            fix = "if this is a Python list, write it with json.dumps: double quotes, null instead of None"
        else:
            fix = _LIST_FIX
        why = getattr(error, "msg", str(error))
        at = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        raise RowError(column, f"{shown(cell)} is not JSON ({why}{at}); {fix}") from None


def _check_turns(column: str, turns: Turns) -> None:
    if not isinstance(turns, list):
        raise RowError(column, f"{shown(turns)} is not a list; {_LIST_FIX}")
    for number, turn in enumerate(turns, 1):
        if turn is not None and not isinstance(turn, str):
            raise RowError(column, f"turn {number} is {shown(turn)}; a turn must be a string or null")


def is_utf8(text: str) -> bool:
    """False for text with a lone surrogate, which no UTF-8 file can hold."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
