"""Which settings would make a base fit a device's memory."""

from typing import Any

from models.transformer.backbone.device import DeviceSpec
from models.transformer.planning.memory import estimate
from models.transformer.settings import Transformer

EVERY = (4, 2)  # numbers of layers of which one is checkpointed, those with the least recomputed first


def suggest_fitting_settings(settings: Transformer, config: Any, spec: DeviceSpec) -> str | None:
    """The first settings, from the mildest, that fit the device's memory: alone, and if none does, added up.

    Smaller micro-batches change nothing but the speed; checkpointing costs a second forward pass; 4-bit weights and,
    on top of all, texts cut shorter come last.
    """
    small: dict[str, Any] = {"tokens_per_batch": settings.max_length}
    again: dict[str, Any] = {"gradient_checkpointing": True}
    narrow: dict[str, Any] = {"quantization": "nf4"} if settings.lora is not None else {}
    mild = [small, again, small | again]
    cut = [{"max_length": length, "tokens_per_batch": length} for length in (1024, 512, 256)]
    every = [*mild, narrow, *(change | narrow for change in mild), *(again | narrow | change for change in cut)]
    now = settings.model_dump()
    tried = set()
    for whole in every:
        change = {key: value for key, value in whole.items() if _less(key, value, now[key])}
        words = " ".join(f"{key}={str(value).lower()}" for key, value in change.items())
        if words in tried or not change:
            continue
        tried.add(words)
        if estimate(settings.model_copy(update=change), config, spec).total <= spec.usable:
            return words
    return None


def suggest_less_checkpointing(settings: Transformer, config: Any, spec: DeviceSpec) -> str | None:
    """The settings that recompute the fewest layers and still fit the device's memory; None where all must be.

    Only where every layer is checkpointed now, and on cards, whose memory nothing else needs.
    """
    if not settings.gradient_checkpointing or settings.checkpoint_every > 1 or spec.kind == "cpu":
        return None
    candidates: list[dict[str, Any]] = [{"gradient_checkpointing": False}]
    candidates += [{"checkpoint_every": number} for number in EVERY if number <= config.num_hidden_layers]
    for change in candidates:
        if estimate(settings.model_copy(update=change), config, spec).total <= spec.usable:
            return " ".join(f"{key}={str(value).lower()}" for key, value in change.items())
    return None


def _less(key: str, value: Any, now: Any) -> bool:
    """Whether a change of a setting would take less memory than what is set."""
    return bool(value != now if key in ("quantization", "gradient_checkpointing") else value < now)
