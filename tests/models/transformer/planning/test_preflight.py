"""What cannot work is refused by name, and no weights are read for that."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    DistilBertConfig,
    LlamaConfig,
    LlamaPreTrainedModel,
    PreTrainedModel,
    RobertaConfig,
)

from battles.errors import BadInput
from models.transformer.backbone import attention, device
from models.transformer.backbone.device import DeviceSpec, device_spec
from models.transformer.planning.preflight import resolve, resolve_for_training
from models.transformer.settings import Lora, Transformer
from tests.models.transformer.checkpoints import load, make_checkpoint, settings
from tests.models.transformer.configs import GEMMA_2_9B

CPU = replace(device_spec(torch.device("cpu")), multiplies_bf16=False)  # whatever this one has
GB = 2**30
T4 = DeviceSpec("Tesla T4", "cuda", 15 * GB, (7, 5), 65_536)
P100 = DeviceSpec("Tesla P100", "cuda", 16 * GB, (6, 0), 49_152)
L4 = DeviceSpec("NVIDIA L4", "cuda", 24 * GB, (8, 9), 101_376)
A100 = DeviceSpec("NVIDIA A100", "cuda", 40 * GB, (8, 0), 166_912)
H200 = DeviceSpec("NVIDIA H200", "cuda", 140 * GB, (9, 0), 232_448)

BIG = Transformer(backbone="gemma", max_length=2048, lora=Lora(), gradient_checkpointing=True, quantization="auto")


@pytest.fixture(autouse=True)
def _no_weights(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """After the checkpoints are made, reading weights fails the test."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(AutoModelForSequenceClassification, "from_pretrained", fail)
    monkeypatch.setattr(PreTrainedModel, "from_pretrained", fail)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("llama", {"max_length": 193}, r"max_length: 193, but .* set it to 192 or less"),
        ("llama", {"lora": Lora(target_modules=["query"])}, r"lora.target_modules: query matches nothing .* q_proj"),
        (
            "gemma2",
            {"lora": Lora(target_modules=["q_proj", "nonsense"])},
            r"lora.target_modules: nonsense matches nothing .* linear layers are down_proj, gate_proj, k_proj",
        ),
        ("llama", {"lora": Lora(target_modules=["mlp.q_proj"])}, r"lora.target_modules: mlp.q_proj matches nothing"),
        ("llama", {"frozen_layers": 2}, r"frozen_layers: 2, but .*llama has 2 layers; set it to 1 or less"),
        ("roberta", {"frozen_layers": 3}, r"frozen_layers: 3, but .*roberta has 2 layers; set it to 1 or less"),
        ("gemma2", {"attention": "sdpa"}, r"attention: sdpa, which gemma2 .* use auto, eager, flex_attention$"),
        ("llama", {"attention": "flash_attention_2"}, r"attention: flash_attention_2, but flash-attn is not installed"),
        ("llama", {"dtype": "float16"}, r"dtype: float16 cannot be trained on the CPU; use auto, float32 or bfloat16"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_before_loading(
    checkpoints: dict[str, Path], name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        load(settings(checkpoints[name], **changes), 1, 0, torch.device("cpu"))


def test_adapters_inside_of_a_head_are_refused() -> None:
    base = Transformer(backbone="distilbert", max_length=64, lora=Lora())
    config = DistilBertConfig(dim=32, n_layers=1, n_heads=2, hidden_dim=64, vocab_size=100)
    with pytest.raises(
        BadInput, match=r"lora.target_modules: all-linear reaches into the head of distilbert; .* q_lin"
    ):
        resolve(base, CPU, config)
    with pytest.raises(BadInput, match=r"batching: packed, but distilbert is of type distilbert; only llama"):
        resolve(base.model_copy(update={"batching": "packed"}), CPU, config)


def test_checkpointing_is_refused_where_the_model_lacks_it(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LlamaPreTrainedModel, "supports_gradient_checkpointing", False)
    with pytest.raises(BadInput, match=r"gradient_checkpointing: .*llama does not support it; set it to false"):
        resolve(settings(checkpoints["llama"], gradient_checkpointing=True), CPU)


def test_training_is_refused_where_flex_attention_has_no_gradient(checkpoints: dict[str, Path]) -> None:
    flex = settings(checkpoints["llama"], attention="flex_attention")
    with pytest.raises(BadInput, match=r"attention: flex_attention has no gradient on the CPU; use auto"):
        resolve_for_training(flex, torch.device("cpu"))
    assert resolve(flex, CPU).attention == "flex_attention"
    with pytest.raises(BadInput, match=r"flex_attention cannot drop attention weights, and llama does with 0.1"):
        attention.check_training("flex_attention", LlamaConfig(attention_dropout=0.1), A100)


def test_an_unknown_backbone_and_one_without_a_classifier_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"backbone: .*nothing' cannot be loaded"):
        load(settings(tmp_path / "nothing"), 1, 0, torch.device("cpu"))
    config = LlamaConfig()
    config.__class__ = type("Other", (LlamaConfig,), {"model_type": "other"})
    with pytest.raises(BadInput, match=r"backbone: .*other is a other, and transformers has no classifier of it"):
        resolve(settings(tmp_path / "other"), CPU, config)


def test_nf4_weights_that_would_be_wrong_on_the_cpu_are_refused(tmp_path: Path) -> None:
    narrow = make_checkpoint(tmp_path, "llama", hidden=32)
    with pytest.raises(
        BadInput, match=r"nf4, but model.layers.0.self_attn.q_proj of .* has 32 inputs, no multiple of 64"
    ):
        resolve(settings(narrow, quantization="nf4"), CPU)
    assert resolve(settings(narrow, quantization="nf4"), A100).quantization == "nf4"


def test_what_a_card_lacks_is_refused_with_what_it_has(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = checkpoints["llama"]
    with pytest.raises(BadInput, match=r"dtype: bfloat16 .* this is Tesla T4 \(compute capability 7.5\); use auto"):
        resolve(settings(base, dtype="bfloat16"), T4)
    with pytest.raises(BadInput, match=r"quantization: int8 needs compute capability 7.5, this is Tesla P100 .* nf4"):
        resolve(settings(base, quantization="int8"), P100)
    assert resolve(settings(base, quantization="int8"), T4).dtype == "float16"
    monkeypatch.setattr(attention, "version", lambda name: "2.5.9")
    flash = settings(checkpoints["gemma2"], attention="flash_attention_2")
    with pytest.raises(BadInput, match=r"flash_attention_2 needs compute capability 8.0, this is Tesla T4"):
        resolve(flash, T4)
    with pytest.raises(BadInput, match=r"flash-attn 2.5.9 cannot cap logits as gemma2 does; install 2.6 or later"):
        resolve(flash, A100)
    with pytest.raises(BadInput, match=r"flash_attention_2 computes in 16 bits"):
        resolve(settings(base, attention="flash_attention_2", dtype="float32"), A100)
    assert resolve(settings(base, attention="flash_attention_2"), A100).attention == "flash_attention_2"
    monkeypatch.setattr(attention, "version", lambda name: "2.10.1")
    assert resolve(flash, A100).attention == "flash_attention_2"


def test_attention_is_chosen_by_architecture_and_card(checkpoints: dict[str, Path]) -> None:
    llama = settings(checkpoints["llama"])
    assert [resolve(llama, where).attention for where in (CPU, T4, L4)] == ["sdpa", "sdpa", "flex_attention"]
    assert attention.choose(settings(checkpoints["roberta"]), RobertaConfig(), A100) == "sdpa"
    gemma = settings(checkpoints["gemma2"])
    assert [resolve(gemma, where).attention for where in (CPU, T4, L4)] == ["eager", "eager", "flex_attention"]
    # Heads of 256 need more shared memory for their gradient than an L4 has.
    found = [attention.choose(gemma, GEMMA_2_9B, where) for where in (L4, A100, H200)]
    assert found == ["eager", "flex_attention", "flex_attention"]
    assert resolve(settings(checkpoints["llama"], attention="eager"), CPU).attention == "eager"


def test_quantization_is_chosen_by_what_fits() -> None:
    few = copy.deepcopy(GEMMA_2_9B)
    few.num_hidden_layers = 4  # 3.4 GB of 16-bit weights
    base = BIG.model_copy(update={"tokens_per_batch": 2048})
    small = replace(T4, memory=5 * GB)
    found = [resolve(base, where, few) for where in (small, A100, CPU)]
    assert [chosen.quantization for chosen in found] == ["nf4", "none", "none"]
    assert [chosen.dtype for chosen in found] == ["float16", "bfloat16", "float32"]
    assert resolve(base.model_copy(update={"lora": None}), small, few).quantization == "none"


def test_without_a_compiler_flex_attention_is_passed_over_and_that_is_said(
    checkpoints: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    slim = replace(A100, cannot_compile="Python.h (python3.11-dev)")
    assert resolve(settings(checkpoints["llama"]), slim).attention == "sdpa"
    assert resolve(settings(checkpoints["gemma2"]), slim).attention == "eager"
    assert "attention: eager, as flex_attention needs Python.h (python3.11-dev), which is" in capsys.readouterr().out
    with pytest.raises(BadInput, match=r"attention: flex_attention needs Python.h \(python3.11-dev\); install it"):
        resolve(settings(checkpoints["llama"], attention="flex_attention"), slim)


def test_what_triton_needs_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "find_spec", lambda name: None)
    assert device.missing_for_triton() == "triton"
    monkeypatch.setattr(device, "find_spec", lambda name: name)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert device.missing_for_triton() == "a C compiler (gcc or clang)"
    compiler = tmp_path / "gcc"
    compiler.touch(mode=0o755)
    monkeypatch.setattr(device.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert str(device.missing_for_triton()).startswith("Python.h (python3.")
    (tmp_path / "Python.h").touch()
    assert device.missing_for_triton() is None
    compiler.unlink()
    monkeypatch.setenv("CC", "/opt/cc")
    assert device.missing_for_triton() is None


def test_a_cpu_with_bf16_instructions_computes_wide_backbones_in_bf16(checkpoints: dict[str, Path]) -> None:
    has = replace(CPU, multiplies_bf16=True)
    found = [resolve(BIG, spec, GEMMA_2_9B).dtype for spec in (has, replace(CPU, multiplies_bf16=False))]
    assert found == ["bfloat16", "float32"]
    assert resolve(settings(checkpoints["llama"]), has).dtype == "float32"  # 64 wide
    assert resolve(BIG.model_copy(update={"dtype": "float32"}), has, GEMMA_2_9B).dtype == "float32"


@pytest.mark.parametrize(
    ("has", "expected"), [({"amx_bf16": True}, True), ({"avx512_bf16": True}, True), ({"avx512_f": True}, False)]
)
def test_a_cpu_multiplies_bf16_by_either_kind_of_instruction(
    has: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    assert device_spec(torch.device("cpu")).multiplies_bf16 is expected
