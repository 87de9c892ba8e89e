"""Backbones of the real architectures with random weights, made on the device from configurations: no download."""

from typing import Any

import torch
from transformers import Gemma2Config, LlamaConfig, RobertaConfig

from models.transformer.backbone import meta_device
from models.transformer.backbone.adapters import Model, adapt
from models.transformer.backbone.precision import DTYPES, quantise, quantised_layers
from models.transformer.settings import Transformer

PAD = 0


def configurations(tiny: bool) -> dict[str, Any]:
    """Gemma 2 9B, Llama 3 8B and RoBERTa base as their model cards give them; `tiny` keeps the shape of each only."""
    if tiny:
        sizes = {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 128,
            "vocab_size": 500,
            "pad_token_id": PAD,
        }
        return {
            "gemma-2-9b": Gemma2Config(**sizes, num_key_value_heads=1, head_dim=32),
            "llama-3-8b": LlamaConfig(**sizes, num_key_value_heads=1),
            "roberta-base": RobertaConfig(**sizes, max_position_embeddings=514),
        }
    return {
        "gemma-2-9b": Gemma2Config(
            hidden_size=3584,
            num_hidden_layers=42,
            num_attention_heads=16,
            num_key_value_heads=8,
            head_dim=256,
            intermediate_size=14336,
            vocab_size=256000,
            pad_token_id=PAD,
        ),
        "llama-3-8b": LlamaConfig(
            hidden_size=4096,
            num_hidden_layers=32,
            num_attention_heads=32,
            num_key_value_heads=8,
            intermediate_size=14336,
            vocab_size=128256,
            max_position_embeddings=8192,
            rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
            pad_token_id=PAD,
        ),
        "roberta-base": RobertaConfig(
            vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=PAD
        ),
    }


def make(settings: Transformer, config: Any, device: torch.device) -> Model:
    """A model with random weights, as `backbone.loading.load` would give it: quantised, adapted, on the device.

    `settings` are resolved. With NF4 each matrix is drawn and packed in turn: the whole model never stands in 16 bits.
    """
    torch.manual_seed(settings.seed)
    packed = settings.quantization == "nf4"
    model = _packed(settings, config, device) if packed else meta_device.bare(settings, config, device=device)
    return adapt(model, settings).to(device)


def _packed(settings: Transformer, config: Any, device: torch.device) -> Any:
    model = meta_device.bare(settings, config)
    dtype = DTYPES[settings.dtype]
    std = config.initializer_range
    for name, layer in quantised_layers(model):
        owner, _, last = name.rpartition(".")
        drawn = torch.empty(layer.weight.shape, dtype=dtype, device=device).normal_(std=std)
        packed = quantise(layer, "nf4", dtype, drawn)
        setattr(model.get_submodule(owner), last, packed)
    # Buffers (rotary frequencies, scale of embeddings) do not depend on the layers: those of one layer will do.
    buffers = dict(meta_device.bare(settings, config, 1, device).named_buffers())
    for name, module in model.named_modules():
        for key, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[key] = buffers[f"{name}.{key}" if name else key]
        for key, parameter in module._parameters.items():
            if parameter is not None and parameter.is_meta:
                drawn = torch.empty(parameter.shape, dtype=parameter.dtype, device=device).normal_(std=std)
                module._parameters[key] = torch.nn.Parameter(drawn)
    model.is_loaded_in_4bit = True  # PEFT takes its 4-bit layers then
    return model
