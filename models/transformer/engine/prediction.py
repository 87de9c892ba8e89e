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
from models.transformer.backbone.packing import pack_multiple
from models.transformer.data.batching import batches
from models.transformer.data.tokenization import Encoded
from models.transformer.engine import distributed, fsdp, out_of_memory
from models.transformer.engine.forward import forward
from models.transformer.engine.fsdp import Sharded
from models.transformer.settings import Transformer
from oof.probabilities import softmax
from oof.table import MEAN, PLAIN, SWAPPED

# With a time budget, the second order is read by so many of the closest battles at a time: enough of them that sorting
# by length leaves little padding, few enough that those left out are the clearest.
CLOSEST = 512
# Probabilities (rows, 3) of a model's logits (rows, outputs), both in the order that was shown.
Readout: TypeAlias = Callable[[np.ndarray], np.ndarray]


def predict_logits(
    model: torch.nn.Module,
    encoded: Encoded,
    swapped: bool,
    settings: Transformer,
    pad: int,
    dtype: torch.dtype,
    advance: Callable[[int], None] = lambda rows: None,
    stop: Callable[[], bool] = lambda: False,
) -> np.ndarray:
    """Logits, float64 (battles, outputs), as the model sees the order: exchanged battles are not mapped back.

    Of several processes each reads its share of the battles and gets the logits of all. Where the weights are sharded
    all read as many batches, some of them twice, and one that runs out of memory raises BadInput.
    `advance` is called with the number of rows of every finished batch. Before every batch `stop` is asked; once it
    is True the battles left are NaN. Where the memory runs out, the batches left are cut anew, half as large. Raises
    BadInput for a battle that does not fit alone, and for logits that are not finite, which half precision can produce.
    """
    where = next(model.parameters()).device
    sharded = isinstance(model, Sharded)
    score = model if isinstance(model, Sharded) else partial(forward, model)
    multiple = pack_multiple(model.model if sharded else model, settings)
    budget = settings.tokens_per_batch
    out = np.full((len(encoded), settings.outputs), np.nan)
    mine = np.argsort(-encoded.lengths, kind="stable")[distributed.share(len(encoded))]
    waiting = deque(mine[part] for part in batches(encoded.lengths[mine], budget, multiple))
    if sharded:
        again = waiting[-1] if waiting else np.arange(1)
        waiting.extend([again] * (distributed.most(len(waiting)) - len(waiting)))
    model.eval()
    # Weights that are put together in inference mode could not be trained on.
    with (
        torch.no_grad() if sharded else torch.inference_mode(),
        torch.autocast(where.type, dtype=dtype, enabled=dtype != torch.float32),
    ):
        while waiting and not (distributed.any_of(stop()) if sharded else stop()):
            rows = waiting[0]
            try:
                found = score(encoded, rows, np.full(len(rows), swapped), pad, multiple)
                logits = found.double().cpu().numpy()
            except torch.OutOfMemoryError:
                if sharded:
                    raise fsdp.out_of_memory(budget) from None
                logits = None
            if logits is None:
                budget = out_of_memory.smaller(budget, encoded.lengths[rows], multiple, settings)
                left = np.concatenate(waiting)
                waiting = deque(left[part] for part in batches(encoded.lengths[left], budget, multiple))
                continue
            if not np.isfinite(logits).all():
                raise BadInput(
                    f"dtype: {settings.dtype} gives logits that are not finite on {settings.backbone}; use float32"
                )
            out[rows] = logits
            waiting.popleft()
            advance(len(rows))
    if isinstance(model, Sharded):
        model.take_apart()
    return distributed.together(mine, out[mine], len(out))


def predict(
    model: torch.nn.Module,
    encoded: Encoded,
    settings: Transformer,
    pad: int,
    dtype: torch.dtype,
    advance: Callable[[int], None] = lambda rows: None,
    readout: Readout = softmax,
    seconds: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, np.ndarray]:
    """Probabilities (battles, 3) by variant: the mean and, with swap TTA, each order; all in the original order.

    `readout` makes probabilities of a model's logits, in the order that it was shown. With `tta: budget` the exchanged
    order is read by the battles of the smallest margin between the two likeliest classes, for `seconds` by `clock`; no
    batch begins after them. The others are NaN in it, and their mean is the plain order.
    """
    plain = readout(predict_logits(model, encoded, False, settings, pad, dtype, advance))
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
        if distributed.from_leader(clock() >= end):
            break
        logits = predict_logits(
            model, encoded.rows(rows), True, settings, pad, dtype, advance, stop=lambda: clock() >= end
        )
        read = ~np.isnan(logits).any(axis=1)
        swapped[rows[read]] = swap_probabilities(readout(logits[read]))
    mean = np.where(np.isnan(swapped), plain, (plain + swapped) / 2)
    return {MEAN: mean, PLAIN: plain, SWAPPED: swapped}
