"""Prompt text of a battle and its length budget: what a language model gets to read."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from battles.schema import TEXTS, Turns, turns

HEAD_SHARE = 2 / 3


def text(row: Turns) -> str:
    """The turns of one side as one text, blank line between turns; null turns are empty.

    Surrogate pairs are joined and lone surrogates become U+FFFD, because tokenizers take only valid Unicode.
    """
    joined = "\n\n".join(turn or "" for turn in row)
    return joined.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def parts(table: pd.DataFrame) -> tuple[list[str], list[str], list[str]]:
    """The texts of prompt, response A and response B, each one string per battle."""
    prompt, first, second = ([text(row) for row in turns(table[column])] for column in TEXTS)
    return prompt, first, second


def spread(lengths: np.ndarray, shares: Sequence[float], budget: int) -> np.ndarray:
    """How many tokens of each part are kept, shape (rows, parts), at most `budget` a row.

    Each part gets at least its share of the budget. What a short part leaves over is divided among the longer ones
    in proportion to their shares. At most `parts - 1` tokens of the budget stay unused while something is cut.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    weights = np.broadcast_to(np.asarray(shares, dtype=np.float64), lengths.shape)
    kept = np.zeros_like(lengths)
    for _ in range(lengths.shape[1]):
        short = kept < lengths
        left = budget - kept.sum(axis=1, keepdims=True)
        weight = np.where(short, weights, 0.0)
        total = weight.sum(axis=1, keepdims=True)
        grant = np.floor(np.divide(left * weight, total, out=np.zeros_like(weight), where=total > 0) + 1e-9)
        kept = np.minimum(lengths, kept + grant.astype(np.int64))
    return kept


def cut(ids: np.ndarray, keep: int, mark: np.ndarray) -> np.ndarray:
    """The token ids shortened to `keep`: beginning and end are kept, `mark` replaces the middle."""
    if len(ids) <= keep:
        return ids
    if keep <= len(mark) + 1:
        return ids[:keep]
    head = round((keep - len(mark)) * HEAD_SHARE)
    tail = keep - len(mark) - head
    return np.concatenate([ids[:head], mark, ids[len(ids) - tail :]])
