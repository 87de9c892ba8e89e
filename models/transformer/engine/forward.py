"""Logits of a micro-batch, padded or packed: the one way in which prediction and training call a model.

Padded rows are right-padded to the longest. Packed battles are concatenated into one row whose positions restart with
each battle: no padding, for attention that skips pairs of tokens from different battles (FlexAttention's block mask,
FlashAttention's sequence bounds). In both cases the backbone is called directly, and the head gets the hidden state of
each battle's last token (decoders) or first token (RoBERTa). The library's classification model would return one row
per pack, and would pool on the last token that is not the pad token: the wrong one where a text contains that token.
"""

from typing import Any

import numpy as np
import torch
from peft import PeftModel

from models.transformer.backbone.heads import NAMES
from models.transformer.backbone.packing import (
    DECODERS,
    ENCODERS,
    block_diagonal_bias,
    block_mask,
    causal_block_masks,
)
from models.transformer.data.batching import collate
from models.transformer.data.tokenization import Encoded


def forward(
    model: Any, encoded: Encoded, rows: np.ndarray, swapped: np.ndarray, pad: int, multiple: int
) -> torch.Tensor:
    """Logits, float32 (rows, 3), of the battles at `rows`; `swapped`, bool (rows,), shows response B first. In train
    mode those of the two models' names stand behind them, where the model has a head for them.

    `multiple` is `pack_multiple`'s. `model` is a bare or PEFT model, not one wrapped for several processes. The head
    computes in fp32, whatever the backbone does.
    """
    device = next(model.parameters()).device
    bare = model.get_base_model() if isinstance(model, PeftModel) else model
    kind = bare.config.model_type
    if kind not in DECODERS + ENCODERS:
        logits: torch.Tensor = model(**collate(encoded, rows, swapped, pad, device)).logits
        return logits.float()
    backbone = getattr(bare, bare.base_model_prefix)
    lengths = torch.from_numpy(encoded.lengths[rows])
    inputs: dict[str, Any]
    if multiple:
        inputs = _pack(backbone, encoded, rows, swapped, pad, multiple, device)
        ends = lengths.cumsum(0)
        at = ends - lengths if kind in ENCODERS else ends - 1
        row = torch.zeros_like(at)
    else:
        inputs = dict(collate(encoded, rows, swapped, pad, device))
        if kind in DECODERS or bool((lengths == lengths.max()).all()):
            # No mask: a causal model's tokens never see the padding behind them. With one, sdpa would
            # leave its fast kernels and lay out rows x longest x longest.
            inputs["attention_mask"] = None
        at = torch.zeros_like(lengths) if kind in ENCODERS else lengths - 1
        row = torch.arange(len(rows))
    hidden = backbone(**inputs, use_cache=False).last_hidden_state[row.to(device), at.to(device)]
    with torch.autocast(device.type, enabled=False):
        wide = hidden.float()
        logits = bare.classifier(wide[:, None]) if kind in ENCODERS else bare.score(wide)  # takes the first token
        if model.training and (names := getattr(model, NAMES, None)) is not None:
            logits = torch.cat([logits, names(wide)], dim=1)
        return logits


class Scorer(torch.nn.Module):
    """`forward` as a module, which accelerate can wrap for several processes."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, *arguments: Any) -> torch.Tensor:
        """Logits, as `engine.forward.forward` gives them."""
        return forward(self.model, *arguments)


def _pack(
    backbone: Any,
    encoded: Encoded,
    rows: np.ndarray,
    swapped: np.ndarray,
    pad: int,
    multiple: int,
    device: torch.device,
) -> dict[str, Any]:
    """The backbone's inputs for concatenated battles; padding at the end is a sequence of its own."""
    sequences = [encoded.sequence(int(row), bool(flag)) for row, flag in zip(rows, swapped, strict=True)]
    padding = -sum(len(ids) for ids in sequences) % multiple
    encoder = backbone.config.model_type in ENCODERS
    start = backbone.embeddings.padding_idx + 1 if encoder else 0
    ids = np.concatenate([*sequences, np.full(padding, pad)])
    positions = np.concatenate([*(np.arange(len(ids)) for ids in sequences), np.zeros(padding, dtype=np.int64)])
    inputs: dict[str, Any] = {
        "input_ids": torch.from_numpy(ids.astype(np.int64))[None].to(device, non_blocking=True),
        # Where a position does not follow on the one before, another sequence begins.
        "position_ids": torch.from_numpy(positions + start)[None].to(device, non_blocking=True),
        "attention_mask": None,
    }
    lengths = [len(ids) for ids in sequences] + [padding] * bool(padding)
    implementation = backbone.config._attn_implementation
    if implementation.startswith("flash"):
        # transformers would find them in the positions, anew and with a wait for the GPU in every layer.
        bounds = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32).to(device, non_blocking=True)
        longest = max(lengths)
        inputs |= {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": longest, "max_length_k": longest}
        return inputs
    if implementation == "flex_attention":
        inputs["attention_mask"] = (
            block_mask(lengths, device, causal=False)
            if encoder
            else causal_block_masks(backbone.config, lengths, device)
        )
    elif encoder:
        sequence = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)).to(device, non_blocking=True)
        inputs["attention_mask"] = block_diagonal_bias(sequence, next(backbone.parameters()))
    return inputs
