"""Which attention implementation a base uses, by architecture and device."""

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AttentionInterface, AutoModelForSequenceClassification
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from battles.errors import BadInput
from models.transformer.backbone.device import BF16_SINCE, DeviceSpec
from models.transformer.settings import Transformer

SOFTCAPPING_SINCE = (2, 6)  # FlashAttention's first release that caps attention logits, as Gemma 2 does
# Heads wider than this need more of a card's shared memory for the gradient of flex attention than Ada and consumer
# Ampere cards have (about 100 kB; A100 and later server cards have over 160).
WIDE_HEAD, WIDE_HEAD_MEMORY = 128, 160_000
REPEATED = "sdpa_repeated"
SUPPORT = {
    "sdpa": "_supports_sdpa",
    "flex_attention": "_supports_flex_attn",
    "flash_attention_2": "_supports_flash_attn",
}


def choose(settings: Transformer, config: Any, spec: DeviceSpec) -> str:
    """As set, once checked; or, for `auto`, flex on cards that can train with it, else sdpa, else eager.

    Flex skips what lies between packed battles. It is passed over on the CPU, where it has no gradient, on cards before
    Ampere, and for models that drop attention weights (RoBERTa). Gemma 2 has no sdpa: its capped attention logits are
    in eager, flex and FlashAttention only, unless `softcapping` is none. Without a C compiler flex, which is compiled
    at run time, is passed over too, and that is said. FlashAttention is only taken when asked for by name. Raises
    BadInput for what the architecture, the installation or the card lacks.
    """
    able = [name for name in SUPPORT if getattr(_model_class(settings, config), SUPPORT[name])]
    if settings.softcapping == "none":
        if not hasattr(config, "attn_logit_softcapping"):
            raise BadInput(
                f"softcapping: none, but {config.model_type} ({settings.backbone}) caps nothing; set it to keep"
            )
        able = list(SUPPORT)
    if settings.attention == "auto":
        other = "sdpa" if "sdpa" in able else "eager"
        if "flex_attention" not in able or not _flex_trains(config, spec):
            return other
        if spec.cannot_compile is not None:
            _say_once(f"attention: {other}, as flex_attention needs {spec.cannot_compile}, which is not here")
            return other
        return "flex_attention"
    if settings.attention != "eager" and settings.attention not in able:
        raise BadInput(
            f"attention: {settings.attention}, which {config.model_type} ({settings.backbone}) does not have; "
            f"use auto, eager{''.join(f', {name}' for name in able if name != 'flash_attention_2')}"
        )
    if settings.attention == "flash_attention_2":
        _check_flash(settings, config, spec)
    if settings.attention == "flex_attention" and spec.kind == "cuda" and spec.cannot_compile is not None:
        raise BadInput(f"attention: flex_attention needs {spec.cannot_compile}; install it, or use auto")
    return settings.attention


def loadable(settings: Transformer) -> str:
    """The attention to load a model with, before it is set to its own: transformers refuses Gemma 2 with sdpa, whether
    its logits are capped or not."""
    return "eager" if settings.softcapping == "none" and settings.attention == "sdpa" else settings.attention


def _repeated_sdpa(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **options: Any
) -> tuple[torch.Tensor, None]:
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    # Nothing is left to be grouped: a module that says so.
    plain = SimpleNamespace(is_causal=getattr(module, "is_causal", True))
    found, _ = sdpa_attention_forward(plain, query, key, value, mask, **options)
    return found, None


AttentionInterface.register(REPEATED, _repeated_sdpa)
AttentionMaskInterface.register(REPEATED, sdpa_mask)


def repeats_keys(attention: str, spec: DeviceSpec) -> bool:
    """Whether sdpa gets the keys and values of grouped queries repeated.

    Without a mask transformers leaves the grouping to sdpa (`enable_gqa`), for which cards before Ampere only have the
    plain kernel, which lays out all attention weights.
    """
    return attention == "sdpa" and spec.kind == "cuda" and spec.capability < BF16_SINCE


def repeat_keys(model: Any) -> None:
    """Has a loaded model repeat keys and values itself, for the kernels that need no matrix of weights."""
    model.config._attn_implementation = REPEATED


@cache
def _say_once(text: str) -> None:
    print(text, flush=True)


def check_training(attention: str, config: Any, spec: DeviceSpec) -> None:
    """Refuses to train where flex attention has no gradient: on the CPU, and with dropout on attention weights."""
    if attention != "flex_attention":
        return
    if spec.kind == "cpu":
        raise BadInput("attention: flex_attention has no gradient on the CPU; use auto there")
    if dropout := _dropout(config):
        raise BadInput(
            f"attention: flex_attention cannot drop attention weights, and {config.model_type} does with {dropout}; "
            "use auto"
        )


def _flex_trains(config: Any, spec: DeviceSpec) -> bool:
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    enough = width <= WIDE_HEAD or spec.shared_memory >= WIDE_HEAD_MEMORY
    return spec.kind == "cuda" and spec.capability >= BF16_SINCE and enough and not _dropout(config)


def _dropout(config: Any) -> float:
    """The share of attention weights that training drops."""
    dropout: float = getattr(config, "attention_dropout", getattr(config, "attention_probs_dropout_prob", 0.0))
    return dropout


def _model_class(settings: Transformer, config: Any) -> type[torch.nn.Module]:
    """The class that classifies sequences with this architecture."""
    try:
        model_class: type[torch.nn.Module] = AutoModelForSequenceClassification._model_mapping[type(config)]
    except KeyError:
        raise BadInput(
            f"backbone: {settings.backbone} is a {config.model_type}, and transformers has no classifier of it; "
            "take RoBERTa, DeBERTa, Llama, Gemma 2, Qwen 2 or another that has one"
        ) from None
    return model_class


def _check_flash(settings: Transformer, config: Any, spec: DeviceSpec) -> None:
    try:
        installed = version("flash_attn")
    except PackageNotFoundError:
        raise BadInput(
            "attention: flash_attention_2, but flash-attn is not installed; install it or use auto"
        ) from None
    if spec.kind == "cpu" or spec.capability < BF16_SINCE:
        raise BadInput(f"attention: flash_attention_2 needs compute capability 8.0, this is {spec.text}; use auto")
    numbers = tuple(int(number) for number in re.findall(r"\d+", installed)[:2])
    if (
        settings.softcapping == "keep"
        and getattr(config, "attn_logit_softcapping", None)
        and numbers < SOFTCAPPING_SINCE
    ):
        raise BadInput(
            f"attention: flash_attention_2, but flash-attn {installed} cannot cap logits as {config.model_type} does; "
            f"install {'.'.join(map(str, SOFTCAPPING_SINCE))} or later, or use auto"
        )
