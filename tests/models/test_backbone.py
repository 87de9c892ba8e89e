import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from transformers import AutoTokenizer

from battles.errors import BadInput
from models import backbone
from models.settings import Lora, Transformer
from tests.models.checkpoints import ARCHITECTURES, make_checkpoint, settings

CPU = torch.device("cpu")
IDS = torch.arange(8, 24).reshape(1, 16)


def _load(base: Transformer, seed: int = 1) -> Any:
    tokenizer = backbone.load_tokenizer(base)
    return backbone.load(base, seed, tokenizer.pad_token_id, CPU)


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


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradient_checkpointing_changes_no_gradient(checkpoints: dict[str, Path], name: str) -> None:
    found = []
    for on in (False, True):
        model = _load(settings(checkpoints[name], gradient_checkpointing=on)).train()
        model(input_ids=IDS).logits.square().sum().backward()
        found.append({key: p.grad for key, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert all(torch.allclose(found[0][key], found[1][key], atol=1e-6) for key in found[0])


def test_gemma_2_never_gets_sdpa_and_a_setting_wins(checkpoints: dict[str, Path]) -> None:
    assert backbone.attention(settings(checkpoints["gemma2"]), "gemma2") == "eager"
    assert backbone.attention(settings(checkpoints["llama"]), "llama") == "sdpa"
    assert backbone.attention(settings(checkpoints["llama"], attention="eager"), "llama") == "eager"


@pytest.mark.parametrize("given", ["none", "end of text"])
def test_the_pad_token_is_a_reserved_one_where_it_is_missing_or_ends_the_text(
    checkpoints: dict[str, Path], tmp_path: Path, given: str
) -> None:
    folder = tmp_path / "llama"
    shutil.copytree(checkpoints["llama"], folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|reserved_special_token_0|>"]})
    tokenizer.pad_token = None if given == "none" else tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    loaded = backbone.load_tokenizer(settings(folder))
    assert loaded.pad_token == "<|reserved_special_token_0|>"
    assert loaded.pad_token_id != loaded.eos_token_id


def test_a_length_over_the_positions_is_refused(checkpoints: dict[str, Path]) -> None:
    for name in ARCHITECTURES:
        backbone.load_config(settings(checkpoints[name], max_length=192))
        with pytest.raises(BadInput, match=r"max_length: 193, but .* has 192 positions; set it to 192 or less"):
            backbone.load_config(settings(checkpoints[name], max_length=193))


def test_a_backbone_that_is_not_there_is_refused_with_the_way_to_it(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot be loaded .* licence at huggingface.co/.* HF_TOKEN"):
        backbone.load_config(settings(tmp_path / "nothing"))


def test_target_modules_that_match_nothing_are_refused_with_what_there_is(checkpoints: dict[str, Path]) -> None:
    base = settings(checkpoints["llama"], lora=Lora(target_modules=["query"]))
    with pytest.raises(BadInput, match=r"lora.target_modules: \['query'\] matches nothing .* q_proj"):
        _load(base)


def test_nf4_weights_that_would_be_wrong_on_the_cpu_are_refused(tmp_path: Path) -> None:
    narrow = make_checkpoint(tmp_path, "llama", hidden=32)
    with pytest.raises(
        BadInput, match=r"nf4, but model.layers.0.self_attn.q_proj of .* has 32 inputs, no multiple of 64"
    ):
        _load(settings(narrow, quantization="nf4"))
