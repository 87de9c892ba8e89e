"""Tokenised battles: every text once, both response orders assembled from the same pieces."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.prompt import parts, parts_by_turn
from models.transformer.data.token_budget import cut, in_proportion, kept_turns, shorten, spread
from models.transformer.settings import Transformer

MARK = " …"
# What a battle says is text, also where it spells a special token: "<eos>" in a response must not end anything.
_AS_TEXT = {"add_special_tokens": False, "split_special_tokens": True}
# Tokenised at a time: enough for all cores; what the tokenizer notes beside the ids takes many times their memory.
TEXTS_AT_A_TIME = 1000
# The least that prompt and responses must have of max_length.
LEAST_TOKENS = 24
PROPORTIONAL = "proportional"


@dataclass(frozen=True)
class Encoded:
    """Token ids of battles: `pieces[k][i]` is part k (prompt, A, B) of battle i, already cut to the budget.

    `frame` holds the template's ids, which may be special tokens: start, before A, before B, end, and where turns are
    interleaved what comes before a further prompt. `lengths` (battles,) counts a whole sequence's tokens, the same in
    both orders. `turns` (turns, 3) of a battle says how its pieces divide into turns, in tokens; None: they do not.
    """

    pieces: tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]
    frame: tuple[np.ndarray, ...]
    lengths: np.ndarray
    turns: list[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    def rows(self, positions: np.ndarray) -> "Encoded":
        """These battles only, in this order; the token arrays are shared, not copied."""
        prompt, a, b = ([piece[row] for row in positions] for piece in self.pieces)
        turns = None if self.turns is None else [self.turns[row] for row in positions]
        return Encoded((prompt, a, b), self.frame, self.lengths[positions], turns)

    def sequence(self, row: int, swapped: bool) -> np.ndarray:
        """The token ids of one battle, int32 (tokens,); `swapped` shows response B in the first place."""
        prompt, a, b = (piece[row] for piece in self.pieces)
        if swapped:
            a, b = b, a
        start, first, second, end, *further = self.frame
        if self.turns is None:
            return np.concatenate([start, prompt, first, a, second, b, end])
        ends = self.turns[row][:-1, [0, 2, 1] if swapped else [0, 1, 2]].cumsum(axis=0)
        sequence: list[np.ndarray] = []
        for turn in zip(*(np.split(part, ends[:, k]) for k, part in enumerate((prompt, a, b))), strict=True):
            sequence += [further[0] if sequence else start, turn[0], first, turn[1], second, turn[2]]
        return np.concatenate([*sequence, end])


def for_prediction(settings: Transformer) -> Transformer:
    """The settings by which battles are tokenised that are predicted."""
    return settings.model_copy(update={"max_length": settings.predict_max_length or settings.max_length})


def encode(tokenizer: Any, battles: pd.DataFrame, settings: Transformer) -> Encoded:
    """Tokenises battles and spreads `max_length` over prompt and responses, of every turn where turns are interleaved.

    Turns that would leave fewer than 8 tokens to each text are left out. Raises BadInput when the template alone leaves
    so few to a single turn.
    """
    frame = _frame(tokenizer, settings)
    most = _most_turns(frame, settings.max_length)
    interleaved = settings.template.turns == "interleaved"
    texts = parts_by_turn(battles) if interleaved else [[[text] for text in part] for part in parts(battles)]
    side = settings.truncation if settings.truncation != PROPORTIONAL else "middle"
    shown = [kept_turns(len(turns), most, side) for turns in texts[0]]
    tokens = _tokens_by_battle(tokenizer, texts, shown, settings.max_length, side)
    around = np.array([tokens_around(frame, len(turns)) for turns in shown], dtype=np.int64)
    mark = _array(_ids(tokenizer, MARK))
    pieces: tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]] = ([], [], [])
    turns = []
    for ids, kept in zip(tokens, _kept_tokens(tokens, settings.max_length - around, settings), strict=True):
        shortened = [cut(text, keep, mark, side) for text, keep in zip(ids, kept, strict=True)]
        for k, piece in enumerate(pieces):
            piece.append(np.concatenate(shortened[k::3]) if interleaved else shortened[k])
        turns.append(np.array(kept, dtype=np.int32).reshape(-1, 3))
    lengths = np.array([of_battle.sum() for of_battle in turns], dtype=np.int64) + around
    return Encoded(pieces, frame, lengths, turns if interleaved else None)


def tokens_around(frame: tuple[np.ndarray, ...], turns: int) -> int:
    """Tokens of a template around a battle of so many turns."""
    start, first, second, end, *further = map(len, frame)
    return start + end + turns * (first + second) + (turns - 1) * sum(further)


def _frame(tokenizer: Any, settings: Transformer) -> tuple[np.ndarray, ...]:
    """`Encoded.frame` of a template."""
    template = settings.template
    start = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    stop = [tokenizer.sep_token_id] if tokenizer.sep_token_id is not None else []
    before = [start] if start is not None else []
    frame = (
        _array(before + _ids(tokenizer, template.prompt)),
        _array(_ids(tokenizer, template.first)),
        _array(_ids(tokenizer, template.second)),
        _array(_ids(tokenizer, template.end) + stop),
    )
    if template.turns == "joined":
        return frame
    return (*frame, _array(_ids(tokenizer, template.between + template.prompt)))


def _most_turns(frame: tuple[np.ndarray, ...], max_length: int) -> int:
    """How many turns of a battle leave `LEAST_TOKENS` to each; raises BadInput where not even one does."""
    around = tokens_around(frame, 1)
    if max_length - around < LEAST_TOKENS:
        raise BadInput(
            f"max_length: {max_length} leaves {max_length - around} tokens beside the template's {around}; "
            f"set it to {around + LEAST_TOKENS} or more"
        )
    further = tokens_around(frame, 2) - around + LEAST_TOKENS
    return 1 + (max_length - around - LEAST_TOKENS) // further


def _tokens_by_battle(
    tokenizer: Any, texts: Sequence[list[list[str]]], shown: list[np.ndarray], max_length: int, side: str
) -> list[list[np.ndarray]]:
    """Token ids of every battle's texts: prompt, A and B of the first of its shown turns, of the second, and so on.

    `texts` are the turns of each part, by battle; `shown` says which of them.
    """
    by_part = []
    for part in texts:
        flat = [turns[turn] for turns, kept in zip(part, shown, strict=True) for turn in kept]
        by_part.append(_tokenise(tokenizer, [shorten(text, max_length, side) for text in flat]))
    ends = np.cumsum([len(kept) for kept in shown]).tolist()
    return [
        [part[at] for at in range(end - len(kept), end) for part in by_part]
        for kept, end in zip(shown, ends, strict=True)
    ]


def _kept_tokens(tokens: list[list[np.ndarray]], budgets: np.ndarray, settings: Transformer) -> list[list[int]]:
    """How many tokens of each of a battle's texts are kept within its budget."""
    if settings.truncation == PROPORTIONAL:
        return [in_proportion(ids, int(budget)).tolist() for ids, budget in zip(tokens, budgets, strict=True)]
    response_share = (1 - settings.prompt_share) / 2
    counts = np.array([len(ids) for ids in tokens], dtype=np.int64)
    kept: list[list[int]] = [[] for _ in tokens]
    for count in np.unique(counts).tolist():
        rows = np.flatnonzero(counts == count)
        lengths = np.array([[len(text) for text in tokens[row]] for row in rows], dtype=np.int64)
        shares = (settings.prompt_share, response_share, response_share) * (count // 3)
        # As many turns, as large a template, as large a budget.
        for row, found in zip(rows.tolist(), spread(lengths, shares, int(budgets[rows[0]])).tolist(), strict=True):
            kept[row] = found
    return kept


def _tokenise(tokenizer: Any, texts: list[str]) -> list[np.ndarray]:
    ids_of_texts: list[np.ndarray] = []
    with _all_cores():
        for begin in range(0, len(texts), TEXTS_AT_A_TIME):
            some = texts[begin : begin + TEXTS_AT_A_TIME]
            encoded = tokenizer(some, **_AS_TEXT, return_attention_mask=False, verbose=False)
            ids_of_texts += [_array(ids) for ids in encoded["input_ids"]]
    return ids_of_texts


@contextmanager
def _all_cores() -> Iterator[None]:
    """Lets the tokenizers library use its threads, which `make` turns off as it forks and starts other steps beside."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
    return ids


def _array(ids: list[int]) -> np.ndarray:
    return np.asarray(ids, dtype=np.int32)
