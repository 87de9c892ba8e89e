"""Tiny local checkpoints of the real architectures, made by the project's own code, and a few battles."""

from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from battles.sample import generate
from battles.settings import Sample
from models.transformer import tiny_backbone
from models.transformer.backbone import loading
from models.transformer.backbone.device import device_spec
from models.transformer.backbone.loading import LoadedBase
from models.transformer.planning.preflight import resolve
from models.transformer.settings import Lora, Tiny, TinyBackbone, Transformer

ARCHITECTURES = ("roberta", "llama", "gemma2")
POSITIONS = 192


@cache
def battles(rows: int = 60) -> pd.DataFrame:
    """Voted battles of the embedded sample, seeded."""
    return generate(Sample(train=rows, test=10, seed=3)).train


def make_checkpoint(folder: Path, architecture: str, hidden: int = 64, layers: int = 2) -> Path:
    """A checkpoint that has seen two steps of text, saved as an ordinary local folder."""
    values = {"architecture": architecture, "hidden": hidden, "layers": layers, "heads": 2, "steps": 2}
    sizes = TinyBackbone.model_validate(values)
    settings = Tiny(vocabulary=400, max_length=POSITIONS, batch_size=8, backbones={architecture: sizes})
    tiny_backbone.make(architecture, settings, battles(), folder / architecture)
    return folder / architecture


def settings(path: Path, **changes: object) -> Transformer:
    """A base on the checkpoint: full fine-tune of RoBERTa, LoRA on the others."""
    lora = None if path.name == "roberta" else Lora(rank=4, dropout=0.0)
    values = {
        "backbone": str(path),
        "max_length": 96,
        "epochs": 1,
        "learning_rate": 1e-2,
        "batch_size": 8,
        "lora": lora,
    }
    return Transformer.model_validate({**values, **changes})


def load(base: Transformer, seed: int, pad: int, device: torch.device) -> Any:
    """The model of one fold, its settings resolved for the device."""
    return loading.load(resolve(base, device_spec(device)), seed, pad, device).model


def as_loaded(model: torch.nn.Module, base: Transformer, pad: int) -> LoadedBase:
    """A model with settings that need not be those that it was loaded by; it computes in fp32."""
    return LoadedBase(model, base, torch.float32, pad)
