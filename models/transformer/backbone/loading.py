"""Backbone factory: a local checkpoint or hub name becomes a model of battles ready for one fold."""

import torch
from bitsandbytes.nn import Linear4bit
from transformers import AutoModelForSequenceClassification

from models.transformer.backbone.adapters import Model, adapt
from models.transformer.backbone.precision import DTYPES, loading_options
from models.transformer.backbone.pretrained import unavailable
from models.transformer.settings import Transformer


def load(settings: Transformer, seed: int, pad_token_id: int, device: torch.device, on_device: bool = True) -> Model:
    """A fresh model for one fold: backbone, quantised if asked, LoRA if asked, new head; on its device, or still on the
    CPU without `on_device`.

    `settings` must be resolved (`planning.preflight`). The head is seeded, kept out of quantisation and in fp32, as all
    trained weights are. Raises BadInput for a model that cannot be had.
    """
    dtype = DTYPES[settings.dtype]
    options = loading_options(settings, dtype)
    if options and device.type == "cuda":
        options["device_map"] = {"": device.index or 0}
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
    if device.type == "cpu":
        _keep_nf4_differentiable(model)
    model.config.pad_token_id = pad_token_id
    model.config.use_cache = False
    adapted = adapt(model, settings)
    return adapted.to(device) if on_device and not options else adapted


def _keep_nf4_differentiable(model: torch.nn.Module) -> None:
    """Keeps NF4 layers on the differentiable path on CPUs that have AVX512-BF16.

    There bitsandbytes 0.50 repacks a layer's weights at its first forward in eval mode, for a kernel that has no
    gradient: training that goes on after a validation would lose the gradient through every frozen layer, with a
    warning only.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
