"""Checks of a base before its weights are loaded, and the concrete value of every setting that is `auto`."""

from typing import Any

import torch

from battles.errors import BadInput
from models.transformer.backbone import attention, device, meta_device
from models.transformer.backbone.device import DeviceSpec
from models.transformer.backbone.packing import pack_padding_multiple
from models.transformer.backbone.precision import check_quantization, choose_dtype
from models.transformer.backbone.pretrained import load_config
from models.transformer.planning import memory
from models.transformer.settings import Transformer

# Below this width most of a step goes to launching operations, and a GPU is of little use.
SMALL = 512


def resolve(settings: Transformer, spec: DeviceSpec, config: Any = None) -> Transformer:
    """The settings with dtype, attention, quantization and kernels as this device will run them. No weights are read.

    The model is built from its configuration (read here unless given) on the meta device, so that unknown target
    modules, too many frozen layers, a length over the positions, packs of an architecture that may mix them up, and
    what the card or an installation lacks are all refused now, with the setting's name and what would do (BadInput).

    `quantization: auto` is `none` on the CPU and without LoRA; else `none` if the unquantised training, as
    `planning.memory` computes it at `max_length` tokens, fits in 90 % of the card's memory, and else `nf4`, which
    trains as well as 16 bits (Dettmers et al. 2023, arXiv:2305.14314) and faster than int8.
    """
    config = config if config is not None else load_config(settings)
    chosen = settings.model_copy(
        update={
            "dtype": choose_dtype(settings, spec, config.hidden_size),
            "attention": attention.choose(settings, config, spec),
            "quantization": "none" if settings.quantization == "auto" else settings.quantization,
            "kernels": _choose_kernels(settings, spec, config),
        }
    )
    if chosen.attention == "flash_attention_2" and chosen.dtype == "float32":
        raise BadInput("attention: flash_attention_2 computes in 16 bits, dtype is float32; use dtype auto or sdpa")
    pack_padding_multiple(config.model_type, chosen.attention, chosen)
    model = meta_device.bare(chosen, config)
    check_quantization(chosen, model, spec)
    meta_device.adapted(chosen, model)
    if settings.quantization == "auto" and settings.lora is not None and spec.kind == "cuda":
        narrow = chosen.model_copy(update={"quantization": "nf4"})
        if memory.estimate(chosen, config, spec).total > spec.usable:
            check_quantization(narrow, model, spec)
            return narrow
    return chosen


def _choose_kernels(settings: Transformer, spec: DeviceSpec, config: Any) -> str:
    """As set, or for `auto` fused on cards with a compiler, for backbones that take longer to train than to compile."""
    if settings.kernels != "auto":
        return settings.kernels
    compiles = spec.kind == "cuda" and spec.cannot_compile is None
    return "fused" if compiles and config.hidden_size >= SMALL else "stock"


def resolve_for_training(settings: Transformer, on: torch.device) -> Transformer:
    """`resolve`, and refuses an attention that has no gradient on this device, and a GPU that torch cannot use.

    Tiny backbones, which a CPU trains in minutes, take what there is.
    """
    config = load_config(settings)
    if on.type == "cuda" or config.hidden_size >= SMALL:
        device.check_gpu_is_used()
    spec = device.device_spec(on)
    chosen = resolve(settings, spec, config)
    attention.check_training(chosen.attention, config, spec)
    return chosen


def resolve_for_predicting(settings: Transformer, on: torch.device, saved: str | None) -> Transformer:
    """`resolve` for the device that a trained model predicts on, which may be another than it was trained on.

    `saved` is the folder of a full fine-tune, whose configuration is read instead of its backbone's. A type or an
    attention that was set and that this device lacks is chosen anew.
    """
    spec = device.device_spec(on)
    lacking: dict[str, Any] = {}
    if settings.dtype == "bfloat16" and not spec.has_bf16:
        lacking["dtype"] = "auto"
    if settings.attention == "flash_attention_2" and spec.capability < device.BF16_SINCE:
        lacking["attention"] = "auto"  # FlashAttention 2 needs Ampere as well
    if saved is not None:
        lacking |= {"backbone": saved, "revision": None}
    return resolve(settings.model_copy(update=lacking), spec)
