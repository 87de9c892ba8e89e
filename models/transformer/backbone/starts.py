"""What a new model starts from instead of random numbers: an adapter trained before, the language model's own head."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, set_peft_model_state_dict
from peft.utils import load_peft_weights
from safetensors import SafetensorError, safe_open
from transformers.utils import cached_file

from battles.errors import BadInput
from models.transformer.backbone.pretrained import load_tokenizer
from models.transformer.settings import Transformer

LM_HEAD = "lm_head.weight"


def take_adapter(model: torch.nn.Module, settings: Transformer) -> None:
    """Puts the adapters and the head of the model saved in `init_from` into a new one, in place.

    Raises BadInput where there is none, or one of other layers or another rank.
    """
    assert settings.init_from is not None
    if not isinstance(model, PeftModel):
        raise BadInput("init_from: an adapter needs lora; to go on with a full fine-tune, set backbone to its folder")
    folder = Path(settings.init_from)
    try:
        weights = load_peft_weights(str(folder), device="cpu")
    except (OSError, ValueError, SafetensorError) as error:
        raise BadInput(
            f"init_from: {folder} holds no adapter that can be read ({str(error).splitlines()[0]}); give the folder "
            "`model` of a finished fold"
        ) from None
    try:
        found = set_peft_model_state_dict(model, weights)
    except RuntimeError:
        raise BadInput(f"init_from: {folder} is of another rank or backbone; set lora.rank as it was there") from None
    lacking = [name for name in found.missing_keys if "lora_" in name or "modules_to_save" in name]
    if lacking or found.unexpected_keys:
        raise BadInput(
            f"init_from: {folder} has adapters on other layers, or another head; set lora.target_modules and head as "
            "they were there"
        )


def start_head(model: Any, settings: Transformer) -> None:
    """Starts a decoder's head from the language model's rows of the tokens with which it would answer, in place.

    Untrained, the three logits are then those of the answers in `head_from`: A, B, tie. A text of several tokens is its
    first. Raises BadInput for an architecture without such a head, and for two answers that begin alike.
    """
    assert settings.head_from is not None
    if not isinstance(getattr(model, "score", None), torch.nn.Linear):
        raise BadInput(f"head_from: {settings.backbone} is a {model.config.model_type}, which has no head of a decoder")
    tokenizer = load_tokenizer(settings)
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"][:1] for text in settings.head_from]
    first = [found[0] for found in ids if found]
    if len(set(first)) < len(settings.head_from):
        raise BadInput(f"head_from: {settings.head_from} do not begin with three different tokens; give other answers")
    rows = (
        model.get_input_embeddings().weight[first]
        if model.config.tie_word_embeddings
        else _stored_rows(settings, first)
    )
    with torch.no_grad():
        model.score.weight.copy_(rows)


def _stored_rows(settings: Transformer, ids: list[int]) -> torch.Tensor:
    """Rows of the language model's head, (answers, hidden), read from the checkpoint; nothing else of it is."""
    file = _file(settings, "model.safetensors")
    if file is None:
        index = _file(settings, "model.safetensors.index.json")
        name = None if index is None else json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"].get(LM_HEAD)
        file = None if name is None else _file(settings, name)
    if file is not None:
        with safe_open(file, framework="pt") as weights:
            if LM_HEAD in weights.keys():  # noqa: SIM118  # not a dict
                rows = weights.get_slice(LM_HEAD)
                return torch.cat([rows[number : number + 1] for number in ids])
    raise BadInput(f"head_from: {settings.backbone} holds no {LM_HEAD} in safetensors; leave head_from out")


def _file(settings: Transformer, name: str) -> str | None:
    """The path of a file of the backbone, None where it has none of that name."""
    path: str | None = cached_file(
        settings.backbone, name, revision=settings.revision, _raise_exceptions_for_missing_entries=False
    )
    return path
