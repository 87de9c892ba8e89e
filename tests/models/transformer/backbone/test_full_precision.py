"""A model of narrow weights that computes in fp32 for a while gives what the same weights give in fp32."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt

from models.transformer.backbone.full_precision import in_float32
from models.transformer.settings import Lora
from tests.models.transformer.checkpoints import load, settings

IDS = torch.randint(5, 300, (2, 40), generator=torch.Generator().manual_seed(0))


def _model(path: Path, **changes: Any) -> Any:
    return load(settings(path, lora=Lora(rank=4, dropout=0.0), **changes), 1, 1, torch.device("cpu")).eval()


@pytest.mark.parametrize("name", ["llama", "gemma2", "roberta"])
def test_narrow_weights_compute_in_fp32(checkpoints: dict[str, Path], name: str) -> None:
    model = _model(checkpoints[name], dtype="bfloat16")
    before = {name: (p.dtype, p.data_ptr()) for name, p in model.named_parameters()}
    wide = copy.deepcopy(model).float()
    with torch.no_grad():
        expected = wide(input_ids=IDS).logits
        with in_float32(model):
            found = model(input_ids=IDS).logits
        with torch.autocast("cpu", torch.bfloat16):
            narrow = model(input_ids=IDS).logits.float()
    assert (found - expected).abs().max() < 1e-6
    assert (narrow - expected).abs().max() > 1e-4
    assert {name: (p.dtype, p.data_ptr()) for name, p in model.named_parameters()} == before


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_quantised_weights_do_too(checkpoints: dict[str, Path], quantization: str) -> None:
    """With the weights that bitsandbytes computes with, which the identity shows."""
    model = _model(checkpoints["llama"], dtype="bfloat16", quantization=quantization)
    layers = [module for module in model.modules() if isinstance(module, Linear4bit | Linear8bitLt)]
    assert len(layers) == 14
    with torch.no_grad():
        shown = [layer(torch.eye(layer.in_features)).t() for layer in layers]
        with in_float32(model):
            used = [layer(torch.eye(layer.in_features)).t() for layer in layers]
            found = model(input_ids=IDS).logits
        with torch.autocast("cpu", torch.bfloat16):
            narrow = model(input_ids=IDS).logits.float()
    for weight, library in zip(used, shown, strict=True):
        assert (weight - library).abs().max() < 0.01 * library.abs().max()
    assert found.dtype == torch.float32
    assert 1e-4 < (found - narrow).abs().max() < 0.1


def test_an_error_inside_leaves_the_model_as_it_was(checkpoints: dict[str, Path]) -> None:
    model = _model(checkpoints["llama"], dtype="bfloat16")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        before = model(input_ids=IDS).logits
        with pytest.raises(RuntimeError, match="in between"), in_float32(model):
            raise RuntimeError("in between")
        assert torch.equal(model(input_ids=IDS).logits, before)
