"""The rival of `benchmarks.gpu`: a model as transformers and PEFT have it, in padded batches as written by hand."""

from typing import Any

import numpy as np
import torch
from peft import PeftModel

from battles.schema import CLASSES
from benchmarks.random_weights import PAD
from models.transformer.backbone.adapters import Model
from models.transformer.data.tokenization import Encoded


def restore(model: Model) -> None:
    """Gives a model the forward passes of transformers and PEFT, and the attention that transformers takes where none
    is named: sdpa where the architecture has it, or eager."""
    for module in model.modules():
        module.__dict__.pop("forward", None)
    bare = model.get_base_model() if isinstance(model, PeftModel) else model
    bare.set_attn_implementation("sdpa" if getattr(type(bare), "_supports_sdpa", False) else "eager")


def run(model: Any, encoded: Encoded, rows: int, dtype: torch.dtype, training: bool) -> None:
    """One pass in length-sorted padded batches as written by hand: the model's own forward, an AdamW step a batch."""
    device = next(model.parameters()).device
    model.train(training)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5) if training else None
    order = np.argsort(-encoded.lengths, kind="stable")
    for begin in range(0, len(order), rows):
        sequences = [torch.from_numpy(encoded.sequence(int(row), False)).long() for row in order[begin : begin + rows]]
        ids = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=PAD).to(device)
        with torch.set_grad_enabled(training), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits = model(input_ids=ids, attention_mask=(ids != PAD).long()).logits.float()
        if optimizer is None:
            logits.cpu()
            continue
        torch.nn.functional.cross_entropy(logits, torch.full_like(logits, 1 / CLASSES)).backward()
        optimizer.step()
        optimizer.zero_grad()
