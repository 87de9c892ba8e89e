"""Estimated duration of training and prediction of a battle: a base's own layers timed here, or a data sheet's rate."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch

from battles.errors import BadInput
from models.transformer.backbone import meta_device
from models.transformer.backbone.adapters import Model, adapt
from models.transformer.backbone.packing import pack_padding_multiple
from models.transformer.backbone.precision import DTYPES, HEADS, quantise, quantised_layers
from models.transformer.data.batching import batches, computed_tokens
from models.transformer.planning.cards import Card
from models.transformer.settings import Transformer

# The shares of a matrix product's rate that training and reading reach: the rest goes to attention, adapters, the
# optimizer and launches. An H100 reached 0.51 and 0.85 with Llama 3 8B, 0.43 and 0.81 with Gemma 2 9B
# (benchmarks/results/nvidia-h100-80gb-hbm3*.json).
LEARNING, READING = 0.45, 0.75
# What is timed: layers, operations of the largest micro-batch on a CPU, seconds of repetitions, and the least of them.
LAYERS, MOST, SECONDS, LEAST = 2, 2e11, 1.0, 3
VOCABULARY = 256  # the embedding only looks rows up


@dataclass(frozen=True)
class Pace:
    """Seconds to train on a battle once, in one order, and to read it once; `flops` a second, in training."""

    learn: float
    read: float
    flops: float


def timed_pace(settings: Transformer, config: Any, model: Model, counts: np.ndarray, device: torch.device) -> Pace:
    """The pace of resolved settings on a device of this machine, for battles of `counts` tokens.

    Some of the base's own layers are timed with random weights: quantised, adapted, checkpointed and attending as they
    will be, forward alone and with the backward pass, on rows of the length in which a mean token stands. The median of
    several runs counts, so that other work on the machine is part of it.
    """
    length = max(1, round(np.square(counts).sum() / counts.sum()))
    layers = min(LAYERS, config.num_hidden_layers)
    per_token = 3 * forward_flops(model, 1, 0) / config.num_hidden_layers * layers
    most = MOST / per_token if device.type == "cpu" else math.inf
    fits = min(settings.tokens_per_batch, settings.batch_size * length, max(most, length))
    rows = max(1, int(fits / length))
    few = _random_layers(settings, config, layers, device)
    while (times := _run_times(few, settings, rows, length, device)) is None:
        if rows == 1:
            raise BadInput(
                f"max_length: a battle of {length} tokens does not fit {layers} layers of {settings.backbone} on this "
                "device; set a smaller one"
            )
        rows //= 2
    train, read = times
    deep = config.num_hidden_layers - settings.frozen_layers
    # All layers are read; those that are trained pass gradients and may be read twice.
    token_read = read / (layers * rows * length) * _waste(settings, config, counts)
    token_train = train / (layers * rows * length) * _waste(settings, config, counts)
    learn = counts.mean() * (deep * token_train + settings.frozen_layers * token_read)
    flops = training_factor(settings, config.num_hidden_layers) * _battle_flops(model, counts) / learn
    return Pace(learn, counts.mean() * config.num_hidden_layers * token_read, flops)


def computed_pace(settings: Transformer, config: Any, model: Model, counts: np.ndarray, card: Card) -> Pace:
    """The pace on a card that is not here: its operations over a share of what the data sheet promises."""
    rate = card.of_peak * (card.rate_fp32 if settings.dtype == "float32" else card.rate)
    once, factor = _battle_flops(model, counts), training_factor(settings, config.num_hidden_layers)
    return Pace(factor * once / (LEARNING * rate), once / (READING * rate), LEARNING * rate)


def _battle_flops(model: Model, counts: np.ndarray) -> float:
    """Operations of reading a battle of mean length once."""
    return forward_flops(model, counts.mean(), float(np.square(counts).mean()))


def _waste(settings: Transformer, config: Any, counts: np.ndarray) -> float:
    """Computed tokens over the battles' own: padding."""
    multiple = pack_padding_multiple(config.model_type, settings.attention, settings)
    parts = batches(counts, settings.tokens_per_batch, multiple)
    return sum(computed_tokens(counts[part], multiple) for part in parts) / float(counts.sum())


def _random_layers(settings: Transformer, config: Any, layers: int, device: torch.device) -> Model:
    """So many layers of the base with random weights, as they will be trained, on the device."""
    config = copy.deepcopy(config)
    config.vocab_size, config.pad_token_id = VOCABULARY, 0
    whole = settings.model_copy(update={"frozen_layers": 0, "head": "linear"})
    dtype = DTYPES[settings.dtype]
    model = meta_device.bare(whole, config, layers, device)
    if settings.quantization != "none":
        for name, layer in quantised_layers(model):
            owner, _, last = name.rpartition(".")
            packed = quantise(layer, settings.quantization, dtype, layer.weight.data)
            if layer.bias is not None:
                packed.bias = layer.bias
            setattr(model.get_submodule(owner), last, packed)
        # PEFT takes its own layers for quantised ones then.
        setattr(model, "is_loaded_in_4bit" if settings.quantization == "nf4" else "is_loaded_in_8bit", True)
    return adapt(model, whole).to(device)


def _run_times(
    model: Model, settings: Transformer, rows: int, length: int, device: torch.device
) -> tuple[float, float] | None:
    """Seconds of forward and backward, and of forward alone, on (rows, length) random tokens: medians. None where the
    memory runs out."""
    dtype = DTYPES[settings.dtype]
    generator = torch.Generator().manual_seed(settings.seed)
    ids = torch.randint(1, VOCABULARY, (rows, length), generator=generator).to(device)

    def logits() -> torch.Tensor:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            found: torch.Tensor = model(input_ids=ids, use_cache=False).logits.float()
        return found

    def learn() -> None:
        torch.nn.functional.cross_entropy(logits(), torch.zeros(rows, settings.outputs, device=device)).backward()
        model.zero_grad()

    def read() -> None:
        with torch.inference_mode():
            logits()

    try:
        model.train()
        train_seconds = _median_seconds(learn, device)
        model.eval()
        return train_seconds, _median_seconds(read, device)
    except torch.OutOfMemoryError:
        model.zero_grad()
        return None


def _median_seconds(work: Callable[[], None], device: torch.device) -> float:
    """The median of as many runs as there is time for, at least `LEAST`, after one that loads and compiles kernels."""
    times: list[float] = []
    work()
    end = time.perf_counter() + SECONDS
    while len(times) < LEAST or time.perf_counter() < end:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return median(times)


def matmul_rate(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """FLOP/s of a square product of random numbers on this device, the median of half a second's runs.

    Of ones or zeros it would be faster, as fewer bits change: 894 against 788 TFLOP/s on an H200.
    """
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    times: list[float] = []
    end = math.inf
    while len(times) < LEAST or time.perf_counter() < end:
        began = time.perf_counter()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if end < math.inf:
            times.append(time.perf_counter() - began)
        else:  # the first run loads kernels
            end = time.perf_counter() + 0.5
    return 2 * side**3 / median(times)


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
    again = 1 / settings.checkpoint_every if settings.gradient_checkpointing else 0
    return 1 + (backward + again) * (layers - settings.frozen_layers) / layers
