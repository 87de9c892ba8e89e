import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    Gemma2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
)

from models.transformer.backbone import fused
from models.transformer.backbone.device import DeviceSpec
from models.transformer.planning.preflight import resolve
from tests.models.transformer.checkpoints import load, settings

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "vocab_size": 60,
    "pad_token_id": 0,
    "num_labels": 3,
}
CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    "gemma2": Gemma2Config(**SIZES, sliding_window=8),
    "mistral": MistralConfig(**SIZES),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES),
}


def _model(config: Any, dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_config(config, dtype=dtype)
    with torch.no_grad():  # as trained ones are: not all alike
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def _logits_and_gradients(model: Any, dtype: torch.dtype | None) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    ids = torch.randint(1, 60, (3, 20), generator=torch.Generator().manual_seed(5))
    model.train()
    with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        logits = model(input_ids=ids).logits.float()
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 2, 1])).backward()
    return logits.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_and_all_gradients_are_those_of_transformers(name: str) -> None:
    stock = _model(CONFIGS[name])
    ours = copy.deepcopy(stock)
    fused.fuse(ours)
    wanted, wanted_gradients = _logits_and_gradients(stock, None)
    logits, gradients = _logits_and_gradients(ours, None)
    torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-6)
    assert gradients.keys() == wanted_gradients.keys()
    for key, gradient in wanted_gradients.items():
        torch.testing.assert_close(gradients[key], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_in_bf16_they_are_as_near_to_fp32_as_those_of_transformers(name: str) -> None:
    exact, _ = _logits_and_gradients(_model(CONFIGS[name]), None)
    stock = _model(CONFIGS[name]).bfloat16()
    ours = copy.deepcopy(stock)
    fused.fuse(ours)
    error, stock_error = (
        (_logits_and_gradients(model, torch.bfloat16)[0] - exact).abs().max() for model in (ours, stock)
    )
    assert error <= 2 * stock_error


def test_every_norm_gate_and_attention_is_replaced_and_no_other_model_changes() -> None:
    for config in CONFIGS.values():
        model = _model(config)
        fused.fuse(model)
        replaced = [type(module).__name__ for module in model.modules() if "forward" in module.__dict__]
        for ending, least in (("RMSNorm", 5), ("MLP", 2), ("Attention", 2)):
            assert sum(name.endswith(ending) for name in replaced) >= least
        untouched = _model(config)
        assert not any("forward" in module.__dict__ for module in untouched.modules())
    sizes = {key: value for key, value in SIZES.items() if key not in ("num_key_value_heads", "head_dim")}
    other = AutoModelForSequenceClassification.from_config(RobertaConfig(**sizes))
    fused.fuse(other)
    assert not any("forward" in module.__dict__ for module in other.modules())


def test_a_gate_of_another_activation_is_left_as_it_is() -> None:
    model = _model(LlamaConfig(**SIZES, hidden_act="relu"))
    fused.fuse(model)
    assert not any("forward" in m.__dict__ for m in model.modules() if type(m).__name__ == "LlamaMLP")


@pytest.mark.parametrize("name", fused.GATES)
@pytest.mark.parametrize("from_one", [False, True])
def test_gradients_are_those_of_finite_differences(name: str, from_one: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # The functions compute in fp32; here in fp64, so that differences can be told from rounding.
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.manual_seed(1)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x, w: fused._Norm.apply(x, w, 1e-5, from_one), (drawn(2, 3, 6), drawn(6)))
    assert torch.autograd.gradcheck(lambda g, u: fused._Gate.apply(g, u, name), (drawn(2, 3, 5), drawn(2, 3, 5)))
    cos, sin = (torch.randn(1, 3, 6, dtype=torch.float64) for _ in range(2))
    assert torch.autograd.gradcheck(
        lambda q, k: fused._Rotary.apply(q, k, cos, sin), (drawn(2, 4, 3, 6), drawn(2, 2, 3, 6))
    )


def test_less_is_kept_for_the_backward_pass() -> None:
    def kept(model: Any) -> int:
        sizes: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        ids = torch.ones((2, 64), dtype=torch.int64)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = model(input_ids=ids).logits.sum()
        del loss
        return sum(sizes.values())

    model = _model(CONFIGS["llama"]).bfloat16()
    stock = kept(model)
    fused.fuse(model)
    assert kept(model) < 0.8 * stock


def test_kernels_are_fused_where_they_are_set_to_be(checkpoints: dict[str, Path]) -> None:
    found, ids = {}, torch.arange(8, 24).reshape(1, 16)
    for kernels in ("auto", "stock", "fused"):
        model = load(settings(checkpoints["gemma2"], kernels=kernels), 1, 1, torch.device("cpu"))
        replaced = {type(module).__name__ for module in model.modules() if "forward" in module.__dict__}
        found[kernels] = (
            {"Gemma2RMSNorm", "Gemma2MLP", "Gemma2Attention"} <= replaced,
            model(input_ids=ids).logits,
        )
    assert [fused for fused, _ in found.values()] == [False, False, True]
    torch.testing.assert_close(found["fused"][1], found["stock"][1], rtol=1e-5, atol=1e-6)
    card = DeviceSpec("NVIDIA A100", "cuda", 40 * 2**30, (8, 0), 166_912)
    config = AutoConfig.from_pretrained(checkpoints["gemma2"])
    auto = settings(checkpoints["gemma2"])
    assert resolve(auto, card, config).kernels == "stock"  # a tiny backbone: compiling takes longer than a step
    config.hidden_size = 1024
    assert resolve(auto, card, config).kernels == "fused"
    assert resolve(auto, replace(card, cannot_compile="a C compiler"), config).kernels == "stock"
