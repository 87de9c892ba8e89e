"""Class probabilities of battles, in one response order or both (swap TTA)."""

from collections.abc import Callable

import numpy as np
import torch

from battles.errors import BadInput
from battles.schema import CLASSES
from battles.swap import swap_probabilities
from models.batching import collate, token_batches
from models.linear import softmax
from models.settings import Transformer
from models.tokens import Encoded
from oof.table import MEAN, PLAIN, SWAPPED


def predict_logits(
    model: torch.nn.Module,
    encoded: Encoded,
    swapped: bool,
    settings: Transformer,
    pad: int,
    dtype: torch.dtype,
    advance: Callable[[int], None] = lambda rows: None,
) -> np.ndarray:
    """Logits, float64 (battles, 3), as the model sees the order: exchanged battles are not mapped back.

    `advance` is called with the number of rows of every finished batch. Raises BadInput for logits that are not
    finite, which half precision can produce.
    """
    where = next(model.parameters()).device
    out = np.empty((len(encoded), CLASSES))
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
) -> dict[str, np.ndarray]:
    """Probabilities (battles, 3) by variant: the mean and, with swap TTA, each order; all in the original order."""
    plain = softmax(predict_logits(model, encoded, False, settings, pad, dtype, advance))
    if settings.tta == "none":
        return {MEAN: plain}
    swapped = swap_probabilities(softmax(predict_logits(model, encoded, True, settings, pad, dtype, advance)))
    return {MEAN: (plain + swapped) / 2, PLAIN: plain, SWAPPED: swapped}
