"""How a battle is cut to `max_length`: the budget of its three parts, and what of a part is kept."""

from collections.abc import Sequence

import numpy as np

# Of what is kept of a text, the share that is its beginning; the rest is its end.
HEAD_SHARE = 2 / 3
# Texts are cut to this many characters per token of max_length before tokenising: longer than nearly any token, so
# that the budget is filled, and a 200 kB response does not cost its full length.
CHARACTERS_PER_TOKEN = 12


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


def in_proportion(texts: Sequence[np.ndarray], budget: int) -> np.ndarray:
    """How many tokens of each text of a battle are kept, (texts,), in proportion to their lengths: `budget` in all.

    `texts` are token ids: prompt and two responses, of every turn. What rounding down leaves over goes to the largest
    remainders (Hamilton's method). Of equal ones the longer text comes first, then the prompt, the earlier turn, and
    the response whose tokens come first, so that it does not matter which response is A. Two responses that are the
    same share one token that is left over by leaving it out.
    """
    lengths = np.array([len(ids) for ids in texts], dtype=np.int64)
    total = int(lengths.sum())
    if total <= budget:
        return lengths
    kept, remainders = np.divmod(lengths * budget, total)
    left = int(budget - kept.sum())

    def rank(at: int) -> tuple[int, int, bool, int, list[int]]:
        turn, part = divmod(at, 3)
        return -int(remainders[at]), -int(lengths[at]), part > 0, turn, texts[at].tolist()

    ranked = sorted(np.flatnonzero(remainders).tolist(), key=rank)
    if 0 < left < len(ranked) and rank(ranked[left - 1]) == rank(ranked[left]):
        left -= 1
    kept[ranked[:left]] += 1
    return np.asarray(kept)


def kept_turns(count: int, most: int, side: str) -> np.ndarray:
    """Which of a battle's turns are kept, where at most `most` are: those that `truncation` would keep of a text."""
    if count <= most:
        return np.arange(count)
    first = {"left": 0, "right": most}.get(side, (most + 1) // 2)
    return np.concatenate([np.arange(first), np.arange(count - (most - first), count)])


def cut(ids: np.ndarray, keep: int, mark: np.ndarray, side: str = "middle") -> np.ndarray:
    """The token ids shortened to `keep`; `mark` stands for what is cut off: the middle, or what is left or right."""
    if len(ids) <= keep:
        return ids
    if keep <= len(mark) + 1:
        return ids[len(ids) - keep :] if side == "left" else ids[:keep]
    if side == "left":
        return np.concatenate([mark, ids[len(ids) - (keep - len(mark)) :]])
    if side == "right":
        return np.concatenate([ids[: keep - len(mark)], mark])
    head = round((keep - len(mark)) * HEAD_SHARE)
    tail = keep - len(mark) - head
    return np.concatenate([ids[:head], mark, ids[len(ids) - tail :]])


def shorten(text: str, max_length: int, side: str = "middle") -> str:
    """The text before it is tokenised: of one that cannot fit into `max_length` tokens, what `cut` could keep."""
    longest = CHARACTERS_PER_TOKEN * max_length
    if side != "middle":
        return text[-longest:] if side == "left" else text[:longest]
    return text if len(text) <= longest else text[: longest * 2 // 3] + text[-(longest // 3) :]
