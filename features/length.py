"""Length of one text: the oldest and strongest bias of human votes."""

from collections.abc import Sequence

from features.text import KINDS, Text

COUNTS = (
    "chars",
    "words",
    "tokens",
    "lines",
    "sentences",
    "turns",
    "empty_turns",
    "first_turn_chars",
    "last_turn_chars",
    "longest_line",
    "last_line",
)


def tokens(text: Text) -> float:
    """Rough number of sub-word tokens: one per word, one more per six bytes of words, one per punctuation mark."""
    spaces = text.kinds[KINDS["space"]]
    letters = text.kinds[KINDS["in_word"]]
    return len(text.words) + letters // 6 + max(0, len(text.raw) - spaces - letters)


def sentences(text: Text) -> int:
    """Rough number of sentence ends: full stops, exclamation marks, question marks and lines."""
    return text.kinds[KINDS["stop"]] + len(text.lines)


def counts(text: Text) -> Sequence[float]:
    """The values of COUNTS, each at least 0."""
    return (
        sum(map(len, text.turns)),
        len(text.words),
        tokens(text),
        len(text.lines),
        sentences(text),
        len(text.turns),
        sum([not turn or turn.isspace() for turn in text.turns]),
        len(text.turns[0]) if text.turns else 0,
        len(text.turns[-1]) if text.turns else 0,
        max(map(len, text.lines), default=0),
        len(text.lines[-1]) if text.lines else 0,
    )
