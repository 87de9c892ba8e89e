"""Similarity of the two responses, and of each to the prompt."""

from collections.abc import Sequence

import numpy as np

from features.text import Text

PAIR = ("identical", "shared_words", "shared_bigrams", "shared_chars", "covered_words", "shared_start", "shared_lines")
TO_PROMPT = ("prompt_words_used", "words_from_prompt", "prompt_chars", "opens_with_prompt_words")

_START = 400


def _jaccard(shared: int, left: int, right: int) -> float:
    return shared / (left + right - shared) if shared else 0.0


def _common(left: np.ndarray, right: np.ndarray) -> int:
    """Size of the intersection of two sorted arrays of distinct values."""
    both = np.concatenate([left, right])
    both.sort()
    return int(np.count_nonzero(both[1:] == both[:-1]))


def _common_start(left: bytes, right: bytes) -> int:
    """Number of leading bytes that are the same, at most _START."""
    left, right = left[:_START], right[:_START]
    for place, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return place
    return min(len(left), len(right))


def pair(a: Text, b: Text) -> Sequence[float]:
    """The values of PAIR; exchanging A and B changes none of them."""
    types_a, types_b = a.types.keys(), b.types.keys()
    shared = len(types_a & types_b)
    lines_a, lines_b = set(a.lines), set(b.lines)
    fewer = min(len(types_a), len(types_b))
    return (
        a.turns == b.turns,
        _jaccard(shared, len(types_a), len(types_b)),
        _jaccard(_common(a.bigrams, b.bigrams), len(a.bigrams), len(b.bigrams)),
        float(a.grams @ b.grams),
        shared / fewer if fewer else 0.0,
        _common_start(a.lower, b.lower) / _START,
        _jaccard(len(lines_a & lines_b), len(lines_a), len(lines_b)),
    )


def to_prompt(response: Text, prompt: Text) -> Sequence[float]:
    """The values of TO_PROMPT for one response."""
    shared = len(response.types.keys() & prompt.types.keys())
    opening = response.words[:15]
    return (
        shared / max(1, len(prompt.types)),
        shared / max(1, len(response.types)),
        float(response.grams @ prompt.grams),
        sum(map(prompt.types.__contains__, opening)) / max(1, len(opening)),
    )
