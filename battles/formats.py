"""The formats in which public data sets of battles come, each turned into the competition's columns, row by row.

A format is told by the names of its columns (`find`), or asked for by its name (make's FORMAT). docs/formats.md says
where each comes from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from battles.checks import TEST_COLUMNS, TRAINING_COLUMNS, RowError, missing_columns
from battles.conversations import turns_of, votes_of
from battles.errors import BadInput, shown
from battles.schema import ID, MODELS, TEXTS, WINNERS

AUTO, COMPETITION = "auto", "competition"
Row = dict[str, Any]
_CONVERSATIONS = ("conversation_a", "conversation_b")
_WINNER = "winner"


@dataclass(frozen=True)
class Format:
    """A format of battles.

    needed: the columns of a voted file. unvoted: those of a file without votes. convert: from a raw row, its number
    (from 1) and whether votes are wanted, to a row of the competition's columns; it may raise RowError or KeyError (a
    column that the row lacks).
    """

    needed: tuple[str, ...]
    unvoted: tuple[str, ...]
    convert: Callable[[Row, int, bool], Row]

    def wanted(self, names: Sequence[str], voted: bool) -> list[str]:
        """Of a file's columns, those that are read."""
        known = self.needed if voted else (*self.unvoted, *MODELS)
        return [name for name in names if name in known]


# ---------------------------------------------------------------- the competition, arena-human-preference-55k


def _as_it_is(row: Row, number: int, voted: bool) -> Row:
    return row


# ---------------------------------------------------------------- lists of messages


def _battle(row: Row, name: Any, voted: bool, turns: int | None = None) -> Row:
    """A battle of two conversations, of `turns` turns or all of them, whose id is `name`."""
    (prompts, a), (other, b) = (turns_of(column, row[column]) for column in _CONVERSATIONS)
    if prompts != other:
        raise RowError(
            ", ".join(_CONVERSATIONS),
            f"the user's messages differ ({shown(prompts)}, {shown(other)}); both models must answer the same ones",
        )
    battle = {ID: name, **dict(zip(TEXTS, (prompts[:turns], a[:turns], b[:turns]), strict=True))}
    battle |= {column: row[column] for column in MODELS if column in row}
    return battle | _votes(row, voted)


def _votes(row: Row, voted: bool, ties: bool = True) -> Row:
    return dict(zip(WINNERS, votes_of(row[_WINNER], ties), strict=True)) if voted else {}


def _arena_33k(row: Row, number: int, voted: bool) -> Row:
    """lmsys/chatbot_arena_conversations. Its `turn` is how many turns there are."""
    return _battle(row, row["question_id"], voted)


def _arena_100k(row: Row, number: int, voted: bool) -> Row:
    """lmarena-ai/arena-human-preference-100k."""
    return _battle(row, row["question_id"], voted)


def _arena_140k(row: Row, number: int, voted: bool) -> Row:
    """lmarena-ai/arena-human-preference-140k. Content is a list of parts."""
    return _battle(row, row[ID], voted)


def _mt_bench(row: Row, number: int, voted: bool) -> Row:
    """lmsys/mt_bench_human_judgments: a battle for each judgment.

    Many are of the same question, so the row's number makes the id. `turn` is the one that was judged, of two: a judge
    of the first has not seen the second.
    """
    turn = row["turn"]
    if isinstance(turn, str) and turn.isdecimal():  # of a CSV
        turn = int(turn)
    if not isinstance(turn, int) or isinstance(turn, bool) or turn < 1:
        raise RowError("turn", f"{shown(turn)} is not the number of a turn; write 1 or 2")
    return _battle(row, f"{row['question_id']}-{turn}-{number}", voted, turn)


# ---------------------------------------------------------------- WSDM Cup 2025


def _wsdm(row: Row, number: int, voted: bool) -> Row:
    """Texts are plain, each a single turn, and no battle is a tie."""
    for column in TEXTS:
        if not isinstance(row[column], str | None):
            raise RowError(column, f"{shown(row[column])} is not text; write the text itself")
    texts: Row = {column: [row[column]] for column in TEXTS}
    names = {column: row[column] for column in (ID, *MODELS) if column in row}
    return names | texts | _votes(row, voted, ties=False)


_JUDGED = (*MODELS, *_CONVERSATIONS, _WINNER)
FORMATS = {
    COMPETITION: Format(TRAINING_COLUMNS, TEST_COLUMNS, _as_it_is),
    "arena-33k": Format(("question_id", *_JUDGED), ("question_id", *_CONVERSATIONS), _arena_33k),
    "arena-100k": Format(("question_id", *_JUDGED), ("question_id", *_CONVERSATIONS), _arena_100k),
    "arena-140k": Format((ID, *_JUDGED), (ID, *_CONVERSATIONS), _arena_140k),
    "mt-bench": Format(("question_id", "turn", *_JUDGED), ("question_id", "turn", *_CONVERSATIONS), _mt_bench),
    "wsdm": Format((ID, *MODELS, *TEXTS, _WINNER), (ID, *TEXTS), _wsdm),
}
# The competition's own file, as the Arena publishes it.
_ALIASES = {"arena-55k": COMPETITION}
NAMES = (AUTO, *FORMATS, *_ALIASES)


def check_name(name: str) -> None:
    """Raises BadInput unless `name` is that of a format, or auto."""
    if name not in NAMES:
        raise BadInput(f"FORMAT: {shown(name)}; choose one of {', '.join(NAMES)}")


def find(name: str, names: Sequence[str]) -> Format:
    """The format called `name`, or for auto the one that the columns `names` are of; the competition's if of none."""
    return FORMATS[_detected(set(names)) if name == AUTO else _ALIASES.get(name, name)]


def _detected(names: set[str]) -> str:
    if set(_CONVERSATIONS) <= names:
        if "question_id" not in names:
            return "arena-140k"
        if names & {"conv_metadata", "judge_hash", "is_code"}:
            return "arena-100k"
        # Of the Arena's own battles `turn` counts the turns, and further columns say who voted and when.
        return "mt-bench" if "turn" in names and not names & {"anony", "language", "tstamp"} else "arena-33k"
    # The test file of the cup has no winner, but a column of its own.
    own = names & {_WINNER, "scored"} and not names & set(WINNERS)
    return "wsdm" if own and set(TEXTS) <= names else COMPETITION


def missing(kind: Format, names: Sequence[str], voted: bool) -> str:
    """Why the columns `names` do not make a file of that format, in one line; empty when they do."""
    return missing_columns(names, kind.needed if voted else kind.unvoted, voted)
