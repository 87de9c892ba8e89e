"""Logits of a micro-batch, padded or packed: the one way in which prediction and training call a model.

Padded, the rows stand one below the other, filled up to the longest. Packed, they are laid end to end as one row with
positions that restart; it saves the filling, and suits attention that never computes what lies between two battles
(FlexAttention's block mask, FlashAttention's sequence bounds). Either way the backbone is called and the head gets the
hidden state of each battle's last token (decoders) or first token (RoBERTa). The class around the backbone would take
one row per pack, and the last token that is not the pad token, which is another one where the text holds that token.
"""

from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch.nn.attention.flex_attention import create_block_mask

from battles.errors import BadInput
from models.batching import collate
from models.settings import Transformer
from models.tokens import Encoded

# Decoders that see packed sequences by restarting positions alone, and encoders that need to be told. RoBERTa's family
# counts positions from pad_token_id + 1.
DECODERS = ("llama", "gemma2", "mistral", "qwen2", "qwen3")
ENCODERS = ("roberta", "xlm-roberta", "camembert")
# FlexAttention is compiled for every length of pack anew, so a pack is filled up to a 16th of the budget, in whole
# blocks of the attention mask: then there are 16 lengths at most.
FLEX_LENGTHS, FLEX_BLOCK = 16, 128


def filling(kind: str, attention: str, settings: Transformer) -> int:
    """What packs of an architecture (`model_type`) are filled up to a multiple of, or 0 where batches are padded.

    1 is: not filled up. They are packs as set, or where the attention leaves out what lies between two sequences.
    Raises BadInput for `batching: packed` on an architecture whose packing is not known to be right.
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
    if not attention.startswith("flex"):
        return 1
    return max(settings.tokens_per_batch // FLEX_LENGTHS // FLEX_BLOCK, 1) * FLEX_BLOCK


def pack_multiple(model: Any, settings: Transformer) -> int:
    """`filling` of a loaded model, and torch's compiler is made ready for packs of its attention."""
    attention = model.config._attn_implementation
    multiple = filling(model.config.model_type, attention, settings)
    if multiple and attention.startswith("flex"):
        # Left alone, torch would compile once for all lengths after the second; on a CPU that kernel does not compile.
        torch._dynamo.config.automatic_dynamic_shapes = False
        torch._dynamo.config.recompile_limit = 4 * FLEX_LENGTHS
    return multiple


def forward(
    model: Any, encoded: Encoded, rows: np.ndarray, swapped: np.ndarray, pad: int, multiple: int
) -> torch.Tensor:
    """Logits, float32 (rows, 3), of the battles at `rows`; `swapped`, bool (rows,), shows response B first.

    `multiple` is `pack_multiple`'s. `model` is a bare or PEFT model, not one wrapped for several processes. The head
    computes in fp32, whatever the backbone does.
    """
    where = next(model.parameters()).device
    bare = model.get_base_model() if isinstance(model, PeftModel) else model
    kind = bare.config.model_type
    if kind not in DECODERS + ENCODERS:
        logits: torch.Tensor = model(**collate(encoded, rows, swapped, pad, where)).logits
        return logits.float()
    backbone = getattr(bare, bare.base_model_prefix)
    lengths = torch.from_numpy(encoded.lengths[rows])
    inputs: dict[str, Any]
    if multiple:
        inputs = _pack(backbone, encoded, rows, swapped, pad, multiple, where)
        ends = lengths.cumsum(0)
        at = ends - lengths if kind in ENCODERS else ends - 1
        row = torch.zeros_like(at)
    else:
        inputs = dict(collate(encoded, rows, swapped, pad, where))
        if kind in DECODERS or bool((lengths == lengths.max()).all()):
            # No mask: a causal model's tokens never see the filling, which stands behind them. With one, sdpa would
            # leave its fast kernels and lay out rows x longest x longest.
            inputs["attention_mask"] = None
        at = torch.zeros_like(lengths) if kind in ENCODERS else lengths - 1
        row = torch.arange(len(rows))
    hidden = backbone(**inputs, use_cache=False).last_hidden_state[row.to(where), at.to(where)]
    with torch.autocast(where.type, enabled=False):
        if kind in ENCODERS:
            return bare.classifier(hidden.float()[:, None])  # takes the first token
        return bare.score(hidden.float())


class Scorer(torch.nn.Module):
    """`forward` as a module, which accelerate can wrap for several processes."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, *arguments: Any) -> torch.Tensor:
        """Logits, as `models.forward.forward` gives them."""
        return forward(self.model, *arguments)


def _pack(
    backbone: Any, encoded: Encoded, rows: np.ndarray, swapped: np.ndarray, pad: int, multiple: int, where: torch.device
) -> dict[str, Any]:
    """The backbone's inputs for battles laid end to end, filled up by pads as sequences of their own."""
    sequences = [encoded.sequence(int(row), bool(flag)) for row, flag in zip(rows, swapped, strict=True)]
    filling = -sum(len(ids) for ids in sequences) % multiple
    encoder = backbone.config.model_type in ENCODERS
    start = backbone.embeddings.padding_idx + 1 if encoder else 0
    ids = np.concatenate([*sequences, np.full(filling, pad)])
    positions = np.concatenate([*(np.arange(len(ids)) for ids in sequences), np.zeros(filling, dtype=np.int64)])
    inputs: dict[str, Any] = {
        "input_ids": torch.from_numpy(ids.astype(np.int64))[None].to(where, non_blocking=True),
        # Where a position does not follow on the one before, another sequence begins.
        "position_ids": torch.from_numpy(positions + start)[None].to(where, non_blocking=True),
        "attention_mask": None,
    }
    lengths = [len(ids) for ids in sequences] + [filling] * bool(filling)
    implementation = backbone.config._attn_implementation
    if implementation.startswith("flash"):
        # transformers would find them in the positions, anew and with a wait for the GPU in every layer.
        bounds = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32).to(where, non_blocking=True)
        longest = max(lengths)
        inputs |= {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": longest, "max_length_k": longest}
    elif encoder:
        sequence = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)).to(where)
        inputs["attention_mask"] = _apart(sequence, implementation == "flex_attention", next(backbone.parameters()))
    return inputs


def _apart(sequence: torch.Tensor, flex: bool, weight: torch.Tensor) -> Any:
    """The attention mask that keeps the tokens of different sequences apart; `sequence` is int64 (tokens,)."""
    total, where = len(sequence), sequence.device
    if flex:

        def same(batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
            return sequence[query] == sequence[key]

        return create_block_mask(same, 1, None, total, total, device=where, _compile=True)
    # A float mask: RoBERTa's eager attention adds what it is given, so that a bool mask would be wrong in silence.
    cast = torch.is_autocast_enabled(where.type)
    dtype = torch.get_autocast_dtype(where.type) if cast else weight.dtype
    mask = torch.zeros(1, 1, total, total, dtype=dtype, device=where)
    return mask.masked_fill_(sequence[:, None] != sequence[None], torch.finfo(dtype).min)
