"""Hypothesis strategies for battles with any Unicode in them."""

import pandas as pd
from hypothesis import strategies as st

from battles.schema import MODELS, TEXTS, WINNERS, Turns, to_json

Battle = dict[str, object]

# Right to left, lone and paired surrogates, NUL and other controls, line breaks of all kinds, marks of CSV and JSON.
_ODD = st.sampled_from(
    ["مرحبا \u202e بالعالم", "שלום", "\ud83d", "\udc00\ud800", "\U0001f1e9\U0001f1ea", "\x00", "\x07\x1b[31m", "\r\n",
     "\u2028\x85", '",', "\\u0000", "'", "\ufeff", "\uffff", "e\u0301", "İ", "ß", "NaN", "null", "[]", "{}",
     "```", "# | - * 1.", " \t "]
)  # fmt: skip
_ANY = st.text(st.characters(exclude_categories=()), max_size=12)


def _joined(text: str) -> str:
    # Two escapes that make a pair are one character in JSON, so a pair of two characters cannot be written.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


texts = st.one_of(_ANY, _ODD, st.tuples(_ODD, _ANY, _ODD).map("".join)).map(_joined)
turns: st.SearchStrategy[Turns] = st.lists(st.none() | texts, max_size=4)

# An id is one line of UTF-8, and not every id of a file may look like an integer with a decimal point.
ids = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=8).filter(
    lambda text: bool(text.strip()) and "." not in text
)
names = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
votes = st.sampled_from([(1, 0, 0), (0, 1, 0), (0, 0, 1)])
_battle = st.fixed_dictionaries(
    {"id": ids} | dict.fromkeys(MODELS, names) | dict.fromkeys(TEXTS, turns) | {"votes": votes}
)


def _flat(battle: Battle) -> Battle:
    winners = battle.pop("votes")
    assert isinstance(winners, tuple)
    return battle | dict(zip(WINNERS, winners, strict=True))


def battles(min_size: int = 1, max_size: int = 6) -> st.SearchStrategy[list[Battle]]:
    """Lists of battles with distinct ids; the turns are lists."""
    return st.lists(_battle.map(_flat), min_size=min_size, max_size=max_size, unique_by=lambda battle: battle["id"])


def table(rows: list[Battle]) -> pd.DataFrame:
    """The battles table of such a list."""
    return pd.DataFrame([{name: to_json(v) if isinstance(v, list) else v for name, v in row.items()} for row in rows])
