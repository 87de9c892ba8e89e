"""Class probabilities of battles, in one response order or both (swap TTA)."""

import math
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
import torch

from battles.errors import BadInput
from battles.swap import swap_probabilities
from models.transformer.backbone.full_precision import in_float32
from models.transformer.backbone.loading import LoadedBase
from models.transformer.backbone.packing import pack_multiple
from models.transformer.data.batching import batches
from models.transformer.data.tokenization import Encoded
from models.transformer.engine import distributed, fsdp, out_of_memory
from models.transformer.engine.forward import forward
from models.transformer.engine.fsdp import Sharded
from oof.probabilities import softmax
from oof.table import MEAN, PLAIN, SWAPPED

# With a time budget, the second order is read by so many of the closest battles at a time: enough of them that sorting
# by length leaves little padding, few enough that those left out are the clearest.
CLOSEST = 512
# Types whose largest number a backbone may pass that was trained in bfloat16.
OVERFLOWING = (torch.float16,)
# Probabilities (rows, 3) of a model's logits (rows, outputs), both in the order that was shown.
Readout: TypeAlias = Callable[[np.ndarray], np.ndarray]


def predict_logits(
    base: LoadedBase,
    encoded: Encoded,
    swapped: bool,
    advance: Callable[[int], None] = lambda rows: None,
    stop: Callable[[], bool] = lambda: False,
) -> np.ndarray:
    """Logits, float64 (battles, outputs), in the order that was shown: those of exchanged battles are not mapped back.

    Of several processes each reads its part of the battles and gets the logits of all. Where the weights are sharded
    all read as many batches, some of them twice, and one that runs out of memory raises BadInput.
    `advance` is called with the number of rows of every finished batch. Before every batch `stop` is asked; once it
    is True the battles left are NaN. Where the memory runs out, the batches left are cut anew, half as large. Raises
    BadInput for a battle that does not fit alone, and for logits that are not finite. Half precision can overflow
    (beyond 65,504): such a battle is computed again in fp32, alone.
    """
    model, settings = base.model, base.settings
    device = next(model.parameters()).device
    sharded = isinstance(model, Sharded)
    multiple = pack_multiple(model.model if sharded else model, settings)
    budget = settings.tokens_per_batch
    logits = np.full((len(encoded), settings.outputs), np.nan)
    own = np.argsort(-encoded.lengths, kind="stable")[distributed.shard_indices(len(encoded))]
    waiting = deque(own[part] for part in batches(encoded.lengths[own], budget, multiple))
    if sharded:
        repeated = waiting[-1] if waiting else np.arange(1)
        waiting.extend([repeated] * (distributed.all_reduce_max(len(waiting)) - len(waiting)))
    model.eval()
    # Weights that are gathered in inference mode could not be trained on.
    with (
        torch.no_grad() if sharded else torch.inference_mode(),
        torch.autocast(device.type, dtype=base.dtype, enabled=base.dtype != torch.float32),
    ):
        while waiting and not (distributed.any_of(stop()) if sharded else stop()):
            rows = waiting[0]
            of_batch = _batch_logits(base, encoded, rows, swapped, multiple)
            if of_batch is None:
                if sharded:
                    raise fsdp.out_of_memory(budget)
                budget = out_of_memory.halve_token_budget(budget, encoded.lengths[rows], multiple, settings)
                left = np.concatenate(waiting)
                waiting = deque(left[part] for part in batches(encoded.lengths[left], budget, multiple))
                continue
            logits[rows] = of_batch
            waiting.popleft()
            advance(len(rows))
    if isinstance(model, Sharded):
        model.free_gathered()
    return distributed.all_gather_rows(own, logits[own], len(logits))


def _batch_logits(
    base: LoadedBase, encoded: Encoded, rows: np.ndarray, swapped: bool, multiple: int
) -> np.ndarray | None:
    """Logits, float64 (rows, outputs), of one batch, or None where it runs out of memory."""
    score = base.model if isinstance(base.model, Sharded) else partial(forward, base.model)
    try:
        logits = score(encoded, rows, np.full(len(rows), swapped), base.pad, multiple).double().cpu().numpy()
    except torch.OutOfMemoryError:
        return None
    overflowed = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(overflowed) and base.dtype in OVERFLOWING:
        print(f"{len(overflowed)} battles overflowed in {base.settings.dtype}: computed again in float32", flush=True)
        for at in overflowed:
            logits[at] = _in_float32(base, encoded, rows[at : at + 1], swapped)
    if not np.isfinite(logits).all():
        raise BadInput(
            f"dtype: {base.settings.dtype} gives logits that are not finite on {base.settings.backbone}; use float32"
        )
    return np.asarray(logits)


def _in_float32(base: LoadedBase, encoded: Encoded, row: np.ndarray, swapped: bool) -> np.ndarray:
    """Logits, float64 (1, outputs), of one battle by the same weights in fp32."""
    with in_float32(base.model):
        logits = forward(base.model, encoded, row, np.full(1, swapped), base.pad, 0)
    return np.asarray(logits.double().cpu().numpy())


def predict(
    base: LoadedBase,
    encoded: Encoded,
    readout: Readout = softmax,
    advance: Callable[[int], None] = lambda rows: None,
    seconds: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, np.ndarray]:
    """Probabilities (battles, 3) by variant: the mean and, with swap TTA, each order; all in the original order.

    `readout` makes probabilities of a model's logits, in the order that was shown. With `tta: budget` the exchanged
    order is read for the battles of the smallest margin between the two likeliest classes, for `seconds` by `clock`;
    no batch begins after them. The others are NaN in it, and their mean is the plain order.
    """
    settings = base.settings
    plain = readout(predict_logits(base, encoded, False, advance))
    if settings.tta == "none":
        return {MEAN: plain}
    parts, end = [np.arange(len(encoded))], math.inf
    if settings.tta == "budget":
        end = clock() + seconds
        ranked = np.sort(plain, axis=1)
        closest = np.argsort(ranked[:, -1] - ranked[:, -2], kind="stable")
        parts = [closest[begin : begin + CLOSEST] for begin in range(0, len(closest), CLOSEST)]
    swapped = np.full_like(plain, np.nan)
    for rows in parts:
        if distributed.broadcast(clock() >= end):
            break
        logits = predict_logits(base, encoded.rows(rows), True, advance, stop=lambda: clock() >= end)
        read = ~np.isnan(logits).any(axis=1)
        swapped[rows[read]] = swap_probabilities(readout(logits[read]))
    mean = np.where(np.isnan(swapped), plain, (plain + swapped) / 2)
    return {MEAN: mean, PLAIN: plain, SWAPPED: swapped}
