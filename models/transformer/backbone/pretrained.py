"""What is read of a backbone before its weights: configuration and tokenizer, from a local folder or the hub."""

from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_CACHE
from transformers import AutoConfig, AutoTokenizer

from battles.errors import BadInput
from models.transformer.backbone.packing import ENCODERS
from models.transformer.settings import Transformer

# Llama 3 has no pad token of its own; these are reserved in its vocabulary and never occur in text. Taking
# the end-of-text token instead would make the pooling stop at the wrong position.
RESERVED_PADS = ("<|finetune_right_pad_id|>", "<|reserved_special_token_0|>")
# What says that a backbone's weights are in the hub's cache.
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


# Where `make backbone` puts what it brings.
FETCHED = "backbones/"


def load_config(settings: Transformer) -> Any:
    """The backbone's configuration, and the first check that it can be had and holds `max_length`."""
    if settings.backbone.startswith(FETCHED) and not Path(settings.backbone).exists():
        name = settings.backbone.removeprefix(FETCHED)
        raise BadInput(f"backbone: {settings.backbone!r} is not there; run `make backbone NAME={name}` first")
    try:
        config = AutoConfig.from_pretrained(settings.backbone, revision=settings.revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise unavailable(settings, error) from None
    # RoBERTa and its like count positions from pad_token_id + 1.
    offset = config.pad_token_id + 1 if config.model_type in ENCODERS else 0
    positions = getattr(config, "max_position_embeddings", settings.max_length + offset) - offset
    longest = max(settings.max_length, settings.predict_max_length or 0)
    if longest > positions:
        name = "max_length" if settings.max_length > positions else "predict_max_length"
        raise BadInput(
            f"{name}: {getattr(settings, name)}, but {settings.backbone} has {positions} positions; "
            f"set it to {positions} or less"
        )
    return config


def load_tokenizer(settings: Transformer) -> Any:
    """The backbone's tokenizer, with a pad token that is not the end-of-text token."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            settings.backbone, revision=settings.revision, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise unavailable(settings, error) from None
    # Of some architectures (Gemma) transformers makes a tokenizer of special tokens alone where no file holds one.
    if set(tokenizer("a word", add_special_tokens=False)["input_ids"]) <= set(tokenizer.all_special_ids):
        raise unavailable(settings, OSError("it has no tokenizer files, or an empty vocabulary"))
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        vocabulary = tokenizer.get_vocab()
        pad = next((token for token in RESERVED_PADS if token in vocabulary), tokenizer.unk_token)
        if pad is None:
            raise BadInput(
                f"{settings.backbone}: the tokenizer has no pad token, nor {' nor '.join(RESERVED_PADS)}, nor an "
                "unknown token; save it with a pad_token set"
            )
        tokenizer.pad_token = pad
    return tokenizer


def say_download(settings: Transformer) -> None:
    """Says that the weights of a hub name are not in the cache yet, before a silence of many gigabytes."""
    if is_local(settings.backbone) or any(
        isinstance(try_to_load_from_cache(settings.backbone, name, revision=settings.revision), str) for name in WEIGHTS
    ):
        return
    print(f"{settings.backbone}: not in {HF_HUB_CACHE} yet, the weights are fetched now (see make plan)", flush=True)


def is_local(backbone: str) -> bool:
    """Whether a name is a folder rather than a hub name (`owner/name`): there, or written as only a path can be."""
    return Path(backbone).exists() or backbone.startswith(("/", ".", "~")) or backbone.count("/") > 1


def unavailable(settings: Transformer, error: Exception) -> BadInput:
    """The refusal of a model that cannot be had: what the library said, and the steps that get it.

    transformers wraps a gated repository, a missing one and a missing network in OSErrors whose first line says which.
    """
    reason = str(error).strip().splitlines()[0].rstrip(".")
    said = f"backbone: {settings.backbone!r} cannot be loaded ({reason})"
    if is_local(settings.backbone):
        return BadInput(
            f"{said}; give a folder that holds config.json, tokenizer and weights, or a hub name owner/name"
        )
    return BadInput(
        f"{said}; give a local checkpoint folder, or accept the licence at https://huggingface.co/{settings.backbone}, "
        "set HF_TOKEN to an access token of that account, and unset HF_HUB_OFFLINE"
    )
