"""Backbone factory: a local checkpoint or hub name becomes a model of battles ready for one fold."""

import torch
from bitsandbytes.nn import Linear4bit
from transformers import AutoModelForSequenceClassification

from models import sharding
from models.adapt import Model, adapt
from models.cards import card, device
from models.hub import load_config, load_tokenizer, unavailable
from models.precision import DTYPES, HEADS, loading_options, resolve_dtype
from models.preflight import resolve
from models.settings import Transformer

__all__ = ["HEADS", "Model", "device", "load", "load_config", "load_tokenizer", "resolve_dtype"]


def load(settings: Transformer, seed: int, pad_token_id: int, where: torch.device) -> Model:
    """A fresh model for one fold: backbone, quantised if asked, LoRA if asked, new head, on its device (where
    weights are to be sharded, on the CPU).

    The head is seeded, kept out of quantisation and in fp32, as all trained weights are. Raises BadInput, before any
    weight is read, for settings that cannot work (`models.preflight`), and for a model that cannot be had.
    """
    settings = resolve(settings, card(where))
    dtype = DTYPES[settings.dtype]
    options = loading_options(settings, dtype)
    if options and where.type == "cuda":
        options["device_map"] = {"": where.index or 0}
    torch.manual_seed(seed)  # the head's weights are drawn while loading
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            settings.backbone,
            revision=settings.revision,
            num_labels=settings.outputs,
            # A full fine-tune keeps fp32 weights and computes under autocast; frozen weights can be narrow.
            dtype=torch.float32 if settings.lora is None else dtype,
            attn_implementation=settings.attention,
            **options,
        )
    except OSError as error:
        raise unavailable(settings, error) from None
    if where.type == "cpu":
        _keep_nf4_differentiable(model)
    model.config.pad_token_id = pad_token_id
    model.config.use_cache = False
    adapted = adapt(model, settings)
    # A backbone that outgrows a card comes to it in parts.
    return adapted if options or sharding.active() else adapted.to(where)


def _keep_nf4_differentiable(model: torch.nn.Module) -> None:
    """Keeps NF4 layers on the differentiable path on CPUs that have AVX512-BF16.

    There bitsandbytes 0.50 repacks a layer's weights at its first forward in eval mode, for a kernel that has no
    gradient: training that goes on after a validation would lose the gradient through every frozen layer, with a
    warning only.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
