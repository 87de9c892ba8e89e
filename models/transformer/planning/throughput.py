"""Estimated duration of training and prediction: floating-point operations over a measured rate."""

import time

import torch

from models.transformer.backbone.adapters import Model
from models.transformer.backbone.precision import HEADS
from models.transformer.settings import Transformer

# The share of a matrix product's rate that training reaches: the rest goes to norms, softmax, adapters, the optimizer
# and launches. Well-run training of large models reports 0.4 to 0.5 of a card's peak (Chowdhery et al. 2022,
# arXiv:2204.02311, table 3).
SHARE = 0.45
MOST = {"cpu": 2e11, "cuda": 4e12}  # operations of the largest product that is timed: a second on a slow device


def matmul_rate(device: torch.device, dtype: torch.dtype, tokens: int, inputs: int, outputs: int) -> float:
    """FLOP/s of (tokens, inputs) x (inputs, outputs) on this device, the best of what half a second allows."""
    tokens = max(1, min(tokens, int(MOST[device.type] / (2 * inputs * outputs))))
    left, right = (torch.ones(shape, dtype=dtype, device=device) for shape in ((tokens, inputs), (inputs, outputs)))
    best, end = float("inf"), time.perf_counter() + 0.5
    runs = 0
    while runs < 3 or time.perf_counter() < end:
        began = time.perf_counter()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if runs:  # the first run loads kernels
            best = min(best, time.perf_counter() - began)
        runs += 1
    return 2 * tokens * inputs * outputs / best


def forward_flops(model: Model, tokens: float, squares: float) -> float:
    """Operations of one forward pass over sequences of `tokens` in total whose squared lengths sum to `squares`.

    2 x parameters x tokens, without the embeddings, which are looked up, and without adapters and head, which are
    small; and 4 x layers x heads x head width x squares for attention, its causal half not taken off.
    """
    config = model.config
    linear = sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if parameter.dim() == 2 and not any(part in (*HEADS, "default") or "embed" in part for part in name.split("."))
    )
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * linear * tokens + 4 * config.num_hidden_layers * config.num_attention_heads * width * squares


def training_factor(settings: Transformer, layers: int) -> float:
    """Training's operations per forward operation: 1 forward, 1 for gradients of activations, 1 for those of weights.

    The last is not needed with LoRA, both not in frozen layers; checkpointing runs the forward of all others again.
    """
    backward = 1 if settings.lora is not None else 2
    again = 1 if settings.gradient_checkpointing else 0
    return 1 + (backward + again) * (layers - settings.frozen_layers) / layers
