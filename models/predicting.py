"""Class probabilities of battles, in one response order or both (swap TTA)."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch

from battles.errors import BadInput
from battles.swap import swap_probabilities
from models.batching import collate, token_batches
from models.linear import softmax
from models.settings import Transformer
from models.tokens import Encoded
from oof.table import MEAN, PLAIN, SWAPPED

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
) -> np.ndarray:
    """Logits, float64 (battles, outputs), as the model sees the order: exchanged battles are not mapped back.

    `advance` is called with the number of rows of every finished batch. Raises BadInput for logits that are not
    finite, which half precision can produce.
    """
    where = next(model.parameters()).device
    out = np.empty((len(encoded), settings.outputs))
    model.eval()
    with torch.inference_mode(), torch.autocast(where.type, dtype=dtype, enabled=dtype != torch.float32):
        for rows in token_batches(encoded.lengths, settings.tokens_per_batch):
            batch = collate(encoded, rows, np.full(len(rows), swapped), pad, where)
            out[rows] = model(**batch).logits.double().cpu().numpy()
            advance(len(rows))
    if not np.isfinite(out).all():
        raise BadInput(f"dtype: {settings.dtype} gives logits that are not finite on {settings.backbone}; use float32")
    return out


def predict(
    model: torch.nn.Module,
    encoded: Encoded,
    settings: Transformer,
    pad: int,
    dtype: torch.dtype,
    advance: Callable[[int], None] = lambda rows: None,
    readout: Readout = softmax,
) -> dict[str, np.ndarray]:
    """Probabilities (battles, 3) by variant: the mean and, with swap TTA, each order; all in the original order.

    `readout` makes probabilities of a model's logits, in the order that it was shown.
    """
    plain = readout(predict_logits(model, encoded, False, settings, pad, dtype, advance))
    if settings.tta == "none":
        return {MEAN: plain}
    swapped = swap_probabilities(readout(predict_logits(model, encoded, True, settings, pad, dtype, advance)))
    return {MEAN: (plain + swapped) / 2, PLAIN: plain, SWAPPED: swapped}
