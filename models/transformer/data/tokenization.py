"""Tokenised battles: every text once, both response orders assembled from the same pieces."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.prompt import parts
from models.transformer.data.token_budget import cut, shorten, spread
from models.transformer.settings import Transformer

MARK = " …"
# What a battle says is text, also where it spells a special token: "<eos>" in a response must not end anything.
_AS_TEXT = {"add_special_tokens": False, "split_special_tokens": True}
# Tokenised at a time: enough for all cores; what the tokenizer notes beside the ids takes many times their memory.
TEXTS_AT_A_TIME = 1000


@dataclass(frozen=True)
class Encoded:
    """Token ids of battles: `pieces[k][i]` is part k (prompt, A, B) of battle i, already cut to the budget.

    `frame` holds the template's ids, which may be special tokens: start, before A, before B, end. `lengths` (battles,)
    counts a whole sequence's tokens, the same in both orders.
    """

    pieces: tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]
    frame: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    def rows(self, positions: np.ndarray) -> "Encoded":
        """These battles only, in this order; the token arrays are shared, not copied."""
        prompt, a, b = ([piece[row] for row in positions] for piece in self.pieces)
        return Encoded((prompt, a, b), self.frame, self.lengths[positions])

    def sequence(self, row: int, swapped: bool) -> np.ndarray:
        """The token ids of one battle, int32 (tokens,); `swapped` shows response B in the first place."""
        prompt, a, b = (piece[row] for piece in self.pieces)
        if swapped:
            a, b = b, a
        start, first, second, end = self.frame
        return np.concatenate([start, prompt, first, a, second, b, end])


def for_prediction(settings: Transformer) -> Transformer:
    """The settings by which battles are tokenised that are predicted."""
    return settings.model_copy(update={"max_length": settings.predict_max_length or settings.max_length})


def encode(tokenizer: Any, battles: pd.DataFrame, settings: Transformer) -> Encoded:
    """Tokenises battles and spreads `max_length` over prompt and responses.

    Raises BadInput when the template alone leaves fewer than 8 tokens for each of the three parts.
    """
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
    around = sum(len(piece) for piece in frame)
    budget = settings.max_length - around
    if budget < 24:
        raise BadInput(
            f"max_length: {settings.max_length} leaves {budget} tokens beside the template's {around}; "
            f"set it to {around + 24} or more"
        )
    side = settings.truncation
    whole = [
        _tokenise(tokenizer, [shorten(text, settings.max_length, side) for text in texts]) for texts in parts(battles)
    ]
    response_share = (1 - settings.prompt_share) / 2
    lengths = np.array([[len(ids) for ids in part] for part in whole], dtype=np.int64).T.reshape(-1, 3)
    kept = spread(lengths, (settings.prompt_share, response_share, response_share), budget)
    mark = _array(_ids(tokenizer, MARK))
    prompt, a, b = (
        [cut(ids, keep, mark, side) for ids, keep in zip(whole[k], kept[:, k], strict=True)] for k in range(3)
    )
    return Encoded((prompt, a, b), frame, kept.sum(axis=1) + around)


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
