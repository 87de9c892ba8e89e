"""Packing: battles concatenated into one row. Which architectures and attentions allow it, and their masks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.attention.flex_attention import BlockMask

from battles.errors import BadInput
from models.transformer.settings import Transformer

# Decoders recognise packed sequences by their restarting positions; encoders need a mask. RoBERTa's family counts
# positions from pad_token_id + 1.
DECODERS = ("llama", "gemma2", "mistral", "qwen2", "qwen3")
ENCODERS = ("roberta", "xlm-roberta", "camembert")
# Of these, the ones that take a mask for each kind of layer.
MASK_BY_KIND = ("gemma2", "qwen2", "qwen3")
SLIDING = "sliding_attention"  # the kind of those that see a window
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


def causal_block_masks(config: Any, lengths: Sequence[int], device: torch.device) -> Any:
    """FlexAttention's mask of packed decoders, or one for each kind of layer, as the model takes them.

    `lengths` are the battles' tokens. A window that is at least as long as every battle hides nothing.
    """
    window = getattr(config, "sliding_window", None)
    if window is not None and max(lengths) <= window:
        window = None
    if config.model_type not in MASK_BY_KIND:
        return block_mask(lengths, device, window=window)
    whole = block_mask(lengths, device)
    masks = dict.fromkeys(config.layer_types, whole)
    if window is not None and SLIDING in masks:
        masks[SLIDING] = block_mask(lengths, device, window=window)
    return masks


def block_mask(
    lengths: Sequence[int], device: torch.device, causal: bool = True, window: int | None = None
) -> BlockMask:
    """FlexAttention's mask of sequences of these lengths, one after the other; together they fill whole blocks.

    A token sees those of its own sequence: all of them, or with `causal` itself and those before it, and of these with
    a `window` the last so many. Which blocks of tokens see each other in whole, in part or not at all follows from the
    lengths. torch's `create_block_mask` tries every pair of tokens, and compiling it took minutes for packs of 16,384
    tokens (pytorch/pytorch#182060, before torch 2.13).
    """
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    blocks = sequence.reshape(-1, FLEX_BLOCK)
    first, last = blocks[:, 0], blocks[:, -1]
    query, key = np.ogrid[: len(blocks), : len(blocks)]
    seen = (first[query] <= last[key]) & (first[key] <= last[query])  # they have a sequence in common
    whole = (first[query] == last[query]) & (first[key] == last[key]) & seen
    if causal:
        seen, whole = seen & (key <= query), whole & (key < query)
    if window is not None:
        behind = (query - key) * FLEX_BLOCK
        seen, whole = seen & (behind - FLEX_BLOCK + 1 < window), whole & (behind + FLEX_BLOCK - 1 < window)
    of_token = torch.from_numpy(sequence).to(device, non_blocking=True)

    def may_see(batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        allowed = of_token[query] == of_token[key]
        if causal:
            allowed = allowed & (query >= key)
        if window is not None:
            allowed = allowed & (query - key < window)
        return allowed

    mask = BlockMask.from_kv_blocks(
        *_listed(seen & ~whole),
        *_listed(whole),
        BLOCK_SIZE=FLEX_BLOCK,
        mask_mod=may_see,
        seq_lengths=(len(sequence), len(sequence)),
    )
    return mask.to(device)


def _listed(blocks: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """For each row of a bool matrix how many blocks it has, and their columns, followed by the others'."""
    count = torch.from_numpy(blocks.sum(axis=1, dtype=np.int32))
    columns = torch.from_numpy(np.argsort(~blocks, axis=1, kind="stable").astype(np.int32))
    return count[None, None], columns[None, None]


def block_diagonal_bias(sequence: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """What eager attention and sdpa add to keep the tokens of different sequences apart; `sequence` is int64 (tokens,),
    the number of each token's sequence."""
    total, device = len(sequence), sequence.device
    # A float mask: RoBERTa's eager attention adds what it is given, so that a bool mask would be wrong in silence.
    cast = torch.is_autocast_enabled(device.type)
    dtype = torch.get_autocast_dtype(device.type) if cast else weight.dtype
    mask = torch.zeros(1, 1, total, total, dtype=dtype, device=device)
    return mask.masked_fill_(sequence[:, None] != sequence[None], torch.finfo(dtype).min)
