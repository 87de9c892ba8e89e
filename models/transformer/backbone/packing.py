"""Packing: battles concatenated into one row. Which architectures and attentions allow it, and their masks."""

from typing import Any

import torch
from torch.nn.attention.flex_attention import create_block_mask

from battles.errors import BadInput
from models.transformer.settings import Transformer

# Decoders recognise packed sequences by their restarting positions; encoders need a mask. RoBERTa's family counts
# positions from pad_token_id + 1.
DECODERS = ("llama", "gemma2", "mistral", "qwen2", "qwen3")
ENCODERS = ("roberta", "xlm-roberta", "camembert")
# Of these, the ones that take a mask for each kind of layer.
MASK_BY_KIND = ("gemma2", "qwen2", "qwen3")
# FlexAttention computes in blocks of so many tokens, to which packs are filled up.
FLEX_BLOCK = 128
# It compiles once for each way of computing: with gradients, without, in inference mode; on a CPU for each length, too.
MODES = 3


def pack_padding_multiple(kind: str, attention: str, settings: Transformer) -> int:
    """The number that the length of a pack is padded to a multiple of: 1 for no padding, 0 for padded batches instead.

    Batches are packed when the settings say so or, with `auto`, where the attention skips other sequences. Raises
    BadInput for `batching: packed` on an architecture whose packing is not known to be right.
    """
    known = kind in DECODERS + ENCODERS
    if settings.batching == "packed" and not known:
        raise BadInput(
            f"batching: packed, but {settings.backbone} is of type {kind}; only "
            f"{', '.join(DECODERS + ENCODERS)} are known to keep packed battles apart: set it to padded"
        )
    fits = known and attention.startswith(("flash", "flex"))
    if settings.batching == "padded" or (settings.batching == "auto" and not fits):
        return 0
    return FLEX_BLOCK if attention.startswith("flex") else 1


def pack_multiple(model: Any, settings: Transformer) -> int:
    """`pack_padding_multiple` of a loaded model; also sets up torch's compiler for packs with FlexAttention."""
    attention = model.config._attn_implementation
    multiple = pack_padding_multiple(model.config.model_type, attention, settings)
    if multiple and attention.startswith("flex"):
        # By default torch compiles one kernel for all lengths after the second. On a CPU that kernel fails.
        torch._dynamo.config.automatic_dynamic_shapes = next(model.parameters()).device.type != "cpu"
        # Past the limit torch would fall back to attention over whole matrices, with a warning only. Two masks, those
        # of battles longer than a sliding window, and twice as many as there should be.
        whole = max(settings.tokens_per_batch, settings.max_length, settings.predict_max_length or 0)
        limit = 2 * 2 * MODES * (whole // FLEX_BLOCK + 1)
        torch._dynamo.config.recompile_limit = limit
        torch._dynamo.config.accumulated_recompile_limit = 4 * limit
        torch._dynamo.config.fail_on_recompile_limit_hit = True
    return multiple


def causal_block_mask(config: Any, sequence: torch.Tensor, longest: int) -> Any:
    """FlexAttention's mask of packed decoders, the same for all layers; None where a window makes them differ.

    `sequence` is int64 (tokens,), the number of each token's battle; `longest` is the length of the longest. Left to
    itself, transformers finds the battles in the positions, which waits for the device, and makes a mask for each kind
    of layer. A window that is at least as long as every battle hides nothing.
    """
    window = getattr(config, "sliding_window", None)
    if window is not None and longest > window:
        return None
    total = len(sequence)

    def same_and_before(
        batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor
    ) -> torch.Tensor:
        return (sequence[query] == sequence[key]) & (query >= key)

    mask = create_block_mask(same_and_before, 1, None, total, total, device=sequence.device, _compile=True)
    if config.model_type not in MASK_BY_KIND:
        return mask
    return dict.fromkeys(set(config.layer_types), mask)


def block_diagonal_mask(sequence: torch.Tensor, flex: bool, weight: torch.Tensor) -> Any:
    """The attention mask that keeps the tokens of different sequences apart; `sequence` is int64 (tokens,)."""
    total, device = len(sequence), sequence.device
    if flex:

        def same(batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
            return sequence[query] == sequence[key]

        return create_block_mask(same, 1, None, total, total, device=device, _compile=True)
    # A float mask: RoBERTa's eager attention adds what it is given, so that a bool mask would be wrong in silence.
    cast = torch.is_autocast_enabled(device.type)
    dtype = torch.get_autocast_dtype(device.type) if cast else weight.dtype
    mask = torch.zeros(1, 1, total, total, dtype=dtype, device=device)
    return mask.masked_fill_(sequence[:, None] != sequence[None], torch.finfo(dtype).min)
