"""Batches within a token budget: sorted by length and padded to the longest row, or packed."""

from bisect import bisect_left, insort
from collections.abc import Iterator

import numpy as np
import torch

from models.transformer.data.tokenization import Encoded

# Training steps are formed inside shuffled blocks of this many steps, sorted by length there: little padding (2 % of
# 2,048-token battles where blocks of 16 have 6 %), and the order stays random at the scale of an epoch.
SORTED_BLOCK = 64


def batches(lengths: np.ndarray, budget: int, multiple: int) -> list[np.ndarray]:
    """Positions into `lengths` as batches within `budget` tokens, those of the longest rows first.

    `multiple` is what packs are filled up to a multiple of (1: not at all), or 0 for padded batches.
    """
    return packs(lengths, budget, multiple) if multiple else token_batches(lengths, budget)


def computed_tokens(lengths: np.ndarray, multiple: int) -> int:
    """Tokens that the model computes for one batch of such rows, padding included; `multiple` as in `batches`."""
    if multiple:
        return -(-int(lengths.sum()) // multiple) * multiple
    return len(lengths) * int(lengths.max())


def packs(lengths: np.ndarray, budget: int, multiple: int) -> list[np.ndarray]:
    """Positions into `lengths` as packs whose tokens, filled up to a multiple of `multiple`, stay within `budget`.

    Best fit, longest row first (Johnson 1974, "Fast algorithms for bin packing"): each row joins the fullest pack
    that has free for it. A single row over the budget is a pack of its own.
    """
    size = max(budget // multiple, 1) * multiple
    free_tokens: list[tuple[int, int]] = []  # what is left in each pack and its number, the fullest first
    filled: list[list[int]] = []
    for row in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[row])
        at = bisect_left(free_tokens, (length, -1))
        if at == len(free_tokens):
            free, number = size, len(filled)
            filled.append([])
        else:
            free, number = free_tokens.pop(at)
        filled[number].append(row)
        insort(free_tokens, (free - length, number))
    return [np.array(rows) for rows in filled]


def token_batches(lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """Positions into `lengths` as batches, longest first; rows x longest row stays within `budget` tokens.

    A single row over the budget is a batch of its own. Longest first: running out of memory shows at once.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, begin = [], 0
    while begin < len(order):
        rows = max(1, budget // int(lengths[order[begin]]))
        batches.append(order[begin : begin + rows])
        begin += rows
    return batches


def training_steps(
    lengths: np.ndarray, batch_size: int, generator: np.random.Generator, packed: bool = False
) -> Iterator[np.ndarray]:
    """One epoch's optimizer steps: every row once, in seeded random order, rows of like length together.

    But where rows are packed: nothing is padded then, and steps of mixed lengths have like numbers of tokens, so that
    fewer of them need a second pack.

    The step of the longest row comes first: running out of memory shows at once. Every step has `batch_size` rows but
    one, which may be smaller; what fits the memory is decided inside a step (`batches`), so the batch that the
    optimizer sees never depends on the device.
    """
    shuffled = generator.permutation(len(lengths))
    block = batch_size * SORTED_BLOCK
    steps = []
    for begin in range(0, len(shuffled), block):
        rows = shuffled[begin : begin + block]
        if not packed:
            rows = rows[np.argsort(-lengths[rows], kind="stable")]
        steps += [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
    order = generator.permutation(len(steps)).tolist()
    longest = max(order, key=lambda step: (lengths[steps[step]].max(), lengths[steps[step]].sum()), default=0)
    for step in sorted(order, key=lambda step: step != longest):
        yield steps[step]


def collate(
    encoded: Encoded, rows: np.ndarray, swapped: np.ndarray, pad: int, device: torch.device
) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask`, int64 (rows, longest), padded on the right; `swapped` is bool (rows,)."""
    sequences = [encoded.sequence(int(row), bool(flag)) for row, flag in zip(rows, swapped, strict=True)]
    longest = max(len(ids) for ids in sequences)
    ids = np.full((len(sequences), longest), pad, dtype=np.int64)
    mask = np.zeros((len(sequences), longest), dtype=np.int64)
    for at, sequence in enumerate(sequences):
        ids[at, : len(sequence)] = sequence
        mask[at, : len(sequence)] = 1
    return {
        "input_ids": torch.from_numpy(ids).to(device, non_blocking=True),
        "attention_mask": torch.from_numpy(mask).to(device, non_blocking=True),
    }
