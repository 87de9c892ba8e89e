"""Batches under a token budget: length-sorted, padded to their longest row."""

from collections.abc import Iterator

import numpy as np
import torch

from models.tokens import Encoded

# Training batches are formed inside shuffled blocks of this many batches, sorted by length there: little
# padding, and the order stays random at the scale of an epoch.
SORTED_BLOCK = 16


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


def training_steps(lengths: np.ndarray, batch_size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """One epoch's optimizer steps: every row once, rows of like length together, in seeded random order.

    Every step has `batch_size` rows but one, which may be smaller; what fits the memory is decided inside a
    step (`token_batches`), so the batch that the optimizer sees never depends on the device.
    """
    shuffled = generator.permutation(len(lengths))
    block = batch_size * SORTED_BLOCK
    steps = []
    for begin in range(0, len(shuffled), block):
        rows = shuffled[begin : begin + block]
        rows = rows[np.argsort(-lengths[rows], kind="stable")]
        steps += [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
    for position in generator.permutation(len(steps)):
        yield steps[position]


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
