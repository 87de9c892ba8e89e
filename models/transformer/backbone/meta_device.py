"""A backbone without its weights: on the meta device, where tensors have a shape and a type and no memory."""

import copy
from math import ceil
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from models.transformer.backbone import heads
from models.transformer.backbone.adapters import Model, adapt
from models.transformer.backbone.attention import loadable
from models.transformer.backbone.precision import DTYPES
from models.transformer.settings import Transformer


def bare(settings: Transformer, config: Any, layers: int | None = None, device: str | torch.device = "meta") -> Any:
    """The sequence classifier as it would be loaded, unquantised and before `adapt`; with so many layers if given.

    Anywhere but on the meta device it has random weights.
    """
    config = copy.deepcopy(config)
    config.num_labels = settings.outputs
    config.use_cache = False
    if layers is not None:
        config.num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            repeated = config.layer_types * ceil(layers / len(config.layer_types))
            config.layer_types = repeated[:layers]
    if config.pad_token_id is None:
        config.pad_token_id = 0
    if settings.softcapping == "none":
        config.attn_logit_softcapping = None
    with torch.device(device):
        model = AutoModelForSequenceClassification.from_config(
            config,
            # A full fine-tune keeps fp32 weights and computes under autocast; frozen weights can be narrow.
            dtype=torch.float32 if settings.lora is None else DTYPES[settings.dtype],
            attn_implementation="eager" if settings.attention == "flash_attention_2" else loadable(settings),
        )
        heads.install(model, settings)
    if loadable(settings) != settings.attention:
        model.config._attn_implementation = settings.attention
    return model


def adapted(settings: Transformer, model: Any) -> Model:
    """The same with what is trained: adapters or whole weights."""
    with torch.device("meta"):
        return adapt(model, settings)
