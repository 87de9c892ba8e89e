"""One adapter in place of those of several folds: their mean, and the mean of their heads."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from battles.errors import BadInput
from battles.files import read_json, write_json
from models.transformer.backbone.precision import recorded_precision
from models.transformer.settings import Transformer

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# What adapters must have in common, or their sum is not one of a larger rank.
ALIKE = ("peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "bias", "rank_pattern", "alpha_pattern")


def write_adapter_mean(folders: Sequence[Path], target: Path) -> None:
    """Writes to `target` an adapter whose update of every weight is the mean of those saved in the K `folders`.

    An update is scale · B · A, with A (rank, inputs) and B (outputs, rank). The mean of the A times the mean of the B
    is something else. Here the A stand one below the other and the B side by side, so that their product is the sum of
    the K products, and the scale is a K-th of what it was: exact, at K times the rank. What is saved whole, the head,
    is averaged. Raises BadInput for adapters that are not alike.
    """
    configs = [read_json(folder / CONFIG) for folder in folders]
    for folder, config in zip(folders, configs, strict=True):
        _check_alike(folder, config, folders[0], configs[0])
    parts = [load_file(folder / WEIGHTS) for folder in folders]
    if any(part.keys() != parts[0].keys() for part in parts):
        raise BadInput(f"{folders[0]}: the adapters of the other folds are on other layers; train all folds anew")
    target.mkdir(parents=True, exist_ok=True)
    for path in folders[0].iterdir():
        if path.is_file() and path.name not in (CONFIG, WEIGHTS):
            shutil.copyfile(path, target / path.name)
    save_file({name: _mean(name, [part[name] for part in parts]) for name in parts[0]}, target / WEIGHTS)
    # The scale is alpha / rank, of rsLoRA alpha / sqrt(rank): of K times the rank, a K-th and a sqrt(K)-th.
    count, config = len(folders), configs[0]
    alpha = config["lora_alpha"] / math.sqrt(count) if config["use_rslora"] else config["lora_alpha"]
    write_json(target / CONFIG, {**config, "r": count * config["r"], "lora_alpha": alpha})


def with_saved_rank(settings: Transformer, folder: Path) -> Transformer:
    """The settings with rank and alpha of the adapter saved in `folder`, which may be a mean of several."""
    assert settings.lora is not None
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        of_adapter = {"rank": config["r"], "alpha": config["lora_alpha"]}
    except (OSError, ValueError, LookupError, TypeError):
        return settings  # whoever reads the weights says what is wrong
    return settings.model_copy(update={"lora": settings.lora.model_copy(update=of_adapter)})


def _mean(name: str, values: Sequence[torch.Tensor]) -> torch.Tensor:
    if ".lora_A." in name:
        return torch.cat(list(values), dim=0).contiguous()
    if ".lora_B." in name:
        return torch.cat(list(values), dim=1).contiguous()
    return torch.stack([value.double() for value in values]).mean(dim=0).to(values[0].dtype)


def _check_alike(folder: Path, config: Mapping[str, Any], first: Path, expected: Mapping[str, Any]) -> None:
    other = [key for key in ALIKE if config.get(key) != expected.get(key)]
    if recorded_precision(folder) != recorded_precision(first):
        other.append("precision")
    if other:
        raise BadInput(f"{folder}: its adapter has another {', '.join(other)} than that in {first}; train all anew")
    if config["use_dora"]:
        raise BadInput(f"{folder}: adapters with DoRA have no mean; set test_from to mean")
