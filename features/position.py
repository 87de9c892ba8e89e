"""Position: the prompt that both responses answer, agreement with its language and form, and which side is longer.

Votes favour a position (the response read first, or last), more so for long and similar pairs. The columns of the
prompt and of the pair do not depend on the order of the responses, so a model can learn that effect from them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from features.text import KINDS, Text

PROMPT = (
    "prompt_length",
    "prompt_words",
    "prompt_lines",
    "prompt_turns",
    "prompt_last_turn",
    "prompt_questions",
    "prompt_code",
    "prompt_digits",
    "prompt_not_ascii",
    "prompt_capitals",
    "prompt_asks_writing",
    "prompt_asks_code",
    "prompt_asks_reasoning",
    "prompt_asks_short",
    "prompt_asks_list",
)
AGREEMENT = ("language_gap", "code_gap", "brevity_gap", "turns_missing", "list_asked", "written_for_prompt")
PLACE = ("longer_first_turn", "longer_last_turn", "longer", "much_longer", "longer_words", "more_lines")

_ASKS = {
    "writing": b"write story poem essay letter email song blog script article rewrite novel chapter",
    "code": b"python code function java javascript sql html css c script program algorithm class error api regex",
    "reasoning": b"why how explain solve calculate prove many much difference compare reason",
    "short": b"short brief briefly concise one only just sentence word summarize summary",
    "list": b"list examples ideas steps tips ways top best suggest",
}
_FIRST_SCRIPT, _NOT_ASCII = KINDS["latin"], KINDS["not_ascii"]
_LATIN, _NONE = (1.0, 0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0, 0.0)
_POINTS = (b"- ", b"* ", b"1.", b"1)", b"\xe2\x80\xa2")
_WORDS = {name: frozenset(group.split()) for name, group in _ASKS.items()}


def prompt(text: Text) -> Sequence[float]:
    """The values of PROMPT; lengths are raw, `features.table` puts them on a log scale."""
    size = max(1, len(text.raw))
    types = text.types.keys()
    return (
        sum(map(len, text.turns)),
        len(text.words),
        len(text.lines),
        len(text.turns),
        len(text.turns[-1]) if text.turns else 0,
        text.kinds[KINDS["question"]],
        text.raw.count(b"```") + text.raw.count(b";\n") + text.raw.count(b"{\n"),
        100 * text.kinds[KINDS["digit"]] / size,
        100 * text.kinds[KINDS["not_ascii"]] / size,
        100 * text.kinds[KINDS["upper"]] / size,
        *(len(types & words) for words in _WORDS.values()),
    )


def _scripts(text: Text) -> tuple[float, ...]:
    """Shares of a text's letters by script: Latin, Greek and Cyrillic, Hebrew and Arabic, Indic, East Asian."""
    counts = text.kinds[_FIRST_SCRIPT:]
    if not text.kinds[_NOT_ASCII]:
        return _LATIN if counts[0] else _NONE
    total = max(1, sum(counts))
    return tuple(count / total for count in counts)


@dataclass(frozen=True)
class Asked:
    """What a prompt asks for: shares of the scripts, kinds of task, turns to answer."""

    scripts: tuple[float, ...]
    kinds: dict[str, bool]
    turns: int

    @classmethod
    def of(cls, prompt: Text) -> "Asked":
        kinds = {name: not prompt.types.keys().isdisjoint(group) for name, group in _WORDS.items()}
        return cls(_scripts(prompt), kinds, len(prompt.turns))


def agreement(response: Text, asked: Asked) -> Sequence[float]:
    """The values of AGREEMENT for one response: how far it is from the prompt's language and form."""
    scripts = _scripts(response)
    same = scripts is asked.scripts or not any(asked.scripts) or not response.words
    gap = 0.0 if same else sum([abs(x - y) for x, y in zip(scripts, asked.scripts, strict=True)]) / 2
    kinds, length = asked.kinds, len(response.words)
    return (
        gap,
        kinds["code"] - float(b"```" in response.raw),
        min(length, 500) / 100 if kinds["short"] else 0.0,
        max(0, asked.turns - sum([bool(turn) and not turn.isspace() for turn in response.turns])),
        float(kinds["list"] and any(line.startswith(_POINTS) for line in response.lines)),
        min(length, 1000) / 100 if kinds["writing"] else 0.0,
    )


def _sign(a: float, b: float) -> float:
    return float(a > b) - float(a < b)


def place(a: Text, b: Text) -> Sequence[float]:
    """The values of PLACE: +1 where A has more, -1 where B has more, 0 where they are equal."""
    words_a, words_b = len(a.words), len(b.words)
    return (
        _sign(len(a.turns[0]) if a.turns else 0, len(b.turns[0]) if b.turns else 0),
        _sign(len(a.turns[-1]) if a.turns else 0, len(b.turns[-1]) if b.turns else 0),
        _sign(len(a.raw), len(b.raw)),
        float(words_a > 2 * words_b + 10) - float(words_b > 2 * words_a + 10),
        _sign(words_a, words_b),
        _sign(len(a.lines), len(b.lines)),
    )
