from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit, Linear8bitLt

from models.transformer.backbone.pretrained import load_tokenizer
from models.transformer.settings import Transformer
from tests.models.transformer.checkpoints import ARCHITECTURES, load, settings

CPU = torch.device("cpu")
IDS = torch.arange(8, 24).reshape(1, 16)


def _load(base: Transformer, seed: int = 1) -> Any:
    tokenizer = load_tokenizer(base)
    return load(base, seed, tokenizer.pad_token_id, CPU)


def _head(model: Any) -> torch.Tensor:
    weights = [p for name, p in model.named_parameters() if "score" in name or "classifier.out_proj" in name]
    return next(p for p in weights if p.requires_grad).detach()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_head_is_seeded_in_fp32_and_trained(checkpoints: dict[str, Path], name: str) -> None:
    base = settings(checkpoints[name], dtype="bfloat16")
    one, same, other = (_head(_load(base, seed)) for seed in (1, 1, 2))
    assert one.dtype == torch.float32
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_lora_trains_adapters_and_head_only(checkpoints: dict[str, Path], name: str) -> None:
    model = _load(settings(checkpoints[name]))
    trained = {key for key, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in key or "score.modules_to_save" in key for key in trained)
    assert any("lora_A" in key for key in trained)


def test_a_full_fine_tune_trains_everything(checkpoints: dict[str, Path]) -> None:
    assert all(p.requires_grad for p in _load(settings(checkpoints["roberta"])).parameters())


@pytest.mark.parametrize(
    # Largest relative error (root mean square) of a weight matrix, and of logits against rounded weights in fp32:
    # int8 rounds the activations as well.
    ("name", "quantization", "kind", "rounding", "activations"),
    [("llama", "nf4", Linear4bit, 0.12, 1e-4), ("gemma2", "int8", Linear8bitLt, 0.01, 0.15)],
)
def test_quantised_loading_rounds_the_backbone_and_keeps_the_head_whole(
    checkpoints: dict[str, Path], name: str, quantization: str, kind: type, rounding: float, activations: float
) -> None:
    base = settings(checkpoints[name])
    whole, narrow = _load(base), _load(settings(checkpoints[name], quantization=quantization))
    linears = {key: module for key, module in narrow.named_modules() if key.endswith("base_layer")}
    assert linears
    assert all(isinstance(module, kind) for module in linears.values())
    assert not any(isinstance(m, kind) for key, m in narrow.named_modules() if "score" in key)
    originals = dict(whole.named_modules())
    with torch.inference_mode():
        for key, module in linears.items():
            rounded, original = _rounded(module), originals[key].weight
            assert (rounded - original).square().mean().sqrt() < rounding * original.square().mean().sqrt()
            original.copy_(rounded)
        expected, found = (model.eval()(input_ids=IDS).logits for model in (whole, narrow))
    assert (found - expected).abs().max() < activations * expected.abs().max()


def _rounded(module: Any) -> torch.Tensor:
    """The weights (out, in) that a quantised layer stands for, in fp32."""
    weight = module.weight
    if isinstance(module, Linear4bit):
        return dequantize_4bit(weight.data, weight.quant_state).float()
    return weight.CB.float() * weight.SCB[:, None] / 127


def test_a_validation_between_two_steps_leaves_nf4_gradients_as_they_were(checkpoints: dict[str, Path]) -> None:
    """On CPUs with AVX512-BF16 an eval-mode forward would move the layers to a kernel without a gradient."""
    model = _load(settings(checkpoints["llama"], quantization="nf4"))

    def gradients() -> list[torch.Tensor]:
        model.train().zero_grad()
        model(input_ids=IDS).logits.square().sum().backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    before = gradients()
    with torch.inference_mode():
        model.eval()(input_ids=IDS)
    after = gradients()
    assert any(gradient.abs().max() > 0 for gradient in before)
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("name", "quantization"),
    [("roberta", "none"), ("llama", "none"), ("llama", "nf4"), ("llama", "int8"), ("gemma2", "none")],
)
def test_gradient_checkpointing_changes_no_gradient(checkpoints: dict[str, Path], name: str, quantization: str) -> None:
    found = []
    for on in (False, True):
        base = settings(checkpoints[name], gradient_checkpointing=on, quantization=quantization)
        model = _load(base).train()
        model(input_ids=IDS).logits.square().sum().backward()
        found.append({key: p.grad for key, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert all(torch.allclose(found[0][key], found[1][key], atol=1e-6) for key in found[0])


def test_checkpointing_frees_the_inputs_that_int8_layers_keep_outside_of_autograd(
    checkpoints: dict[str, Path],
) -> None:
    model = _load(settings(checkpoints["llama"], quantization="int8", gradient_checkpointing=True)).train()
    nodes, seen = [model(input_ids=IDS).logits.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes += [following for following, _ in node.next_functions]
    assert not any("MatMul8bit" in type(node).__name__ for node in seen)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_frozen_layers_stay_as_they_are_loaded(checkpoints: dict[str, Path], name: str) -> None:
    model = _load(settings(checkpoints[name], frozen_layers=1)).train()
    model(input_ids=IDS).logits.square().sum().backward()
    moved = {key for key, p in model.named_parameters() if p.grad is not None}
    assert moved == {key for key, p in model.named_parameters() if p.requires_grad}
    assert any(".1." in key for key in moved)
    assert not any(".0." in key or "embed" in key for key in moved)


def test_a_quantised_model_keeps_its_embedding_table_narrow_and_its_stream_wide(checkpoints: dict[str, Path]) -> None:
    narrow = _load(settings(checkpoints["llama"], quantization="nf4", dtype="bfloat16"))
    table = narrow.get_input_embeddings()
    assert table.weight.dtype == torch.bfloat16
    assert torch.equal(table(IDS), table.weight[IDS].float())
    norms = [p for key, p in narrow.named_parameters() if "norm" in key]
    assert norms
    assert all(p.dtype == torch.float32 for p in norms)
