import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from transformers import AutoConfig, AutoModelForSequenceClassification

from battles.errors import BadInput
from models.transformer.backbone import loading
from models.transformer.backbone.attention import repeat_keys, repeats_keys
from models.transformer.backbone.device import DeviceSpec, device_spec
from models.transformer.backbone.pretrained import load_tokenizer
from models.transformer.planning.preflight import resolve
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


def test_weights_go_straight_to_the_card(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a place transformers loads into the host's memory, each process its own copy."""
    asked: list[dict[str, Any]] = []
    real = AutoModelForSequenceClassification.from_pretrained

    def spy(*arguments: Any, device_map: Any = None, **options: Any) -> Any:
        asked.append(device_map)
        return real(*arguments, **options)

    monkeypatch.setattr(AutoModelForSequenceClassification, "from_pretrained", spy)
    monkeypatch.setattr(loading, "device_spec", lambda device: device_spec(CPU))
    for name in ("roberta", "llama"):
        base = resolve(settings(checkpoints[name]), device_spec(CPU))
        loading.load(base, 1, 1, torch.device("cuda", 1))
        loading.load(base, 1, 1, torch.device("cuda", 1), on_device=False)  # to be sharded
    assert asked == [{"": 1}, None, {"": 1}, None]


def test_before_ampere_keys_are_repeated_for_a_kernel_without_a_matrix(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    t4 = DeviceSpec("Tesla T4", "cuda", 15 * 2**30, (7, 5), 65_536)
    assert repeats_keys("sdpa", t4)
    assert not repeats_keys("eager", t4)
    assert not repeats_keys("sdpa", DeviceSpec("NVIDIA A100", "cuda", 40 * 2**30, (8, 0), 166_912))
    assert not repeats_keys("sdpa", device_spec(CPU))
    config = AutoConfig.for_model(
        "llama", vocab_size=400, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, pad_token_id=1, num_labels=3,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="sdpa").eval()
    grouped: list[bool] = []
    real = torch.nn.functional.scaled_dot_product_attention

    def spy(query: torch.Tensor, key: torch.Tensor, *others: Any, **options: Any) -> torch.Tensor:
        grouped.append(options.get("enable_gqa", False))
        assert options.get("attn_mask") is None
        assert (query.shape[1] == key.shape[1]) != grouped[-1]
        return real(query, key, *others, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    with torch.no_grad():
        before = model(input_ids=IDS).logits
        assert grouped == [True] * 2
        repeat_keys(model)
        after = model(input_ids=IDS).logits
    assert grouped == [True] * 2 + [False] * 2
    assert (before - after).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("other shapes", "has weights of other shapes than its config.json says"),
        ("a pickle", "cannot be loaded (Error no file named model.safetensors"),
        ("cut off", "cannot be loaded (Error while deserializing header"),
        ("code of its own", "cannot be loaded (The repository"),
    ],
)
def test_a_folder_that_is_no_backbone_is_refused_in_one_line(
    checkpoints: dict[str, Path], tmp_path: Path, damage: str, expected: str
) -> None:
    folder = tmp_path / "backbone"
    shutil.copytree(checkpoints["roberta"], folder)
    weights, config = folder / "model.safetensors", json.loads((folder / "config.json").read_text())
    if damage == "other shapes":
        (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 2 * config["hidden_size"]}))
    elif damage == "a pickle":
        torch.save({}, folder / "pytorch_model.bin")
        weights.unlink()
    elif damage == "cut off":
        weights.write_bytes(weights.read_bytes()[:500])
    else:
        own = {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.Model"}
        (folder / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": own}))
        (folder / "own.py").write_text("raise SystemExit('ran the code of a checkpoint')\n")
    given = settings(folder)
    with pytest.raises(BadInput) as refusal:
        load(given, 1, 1, CPU)
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["roberta", "llama"])
def test_a_reward_models_head_is_drawn_anew_and_that_is_said(
    checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    reward = AutoModelForSequenceClassification.from_pretrained(checkpoints[name], num_labels=1)
    reward.save_pretrained(tmp_path)
    base = settings(checkpoints[name], lora=None).model_copy(update={"backbone": str(tmp_path)})
    capsys.readouterr()
    found = load(base, 1, 1, CPU)
    assert capsys.readouterr().out == f"{tmp_path}: its head has 1 output; one of 3 is drawn anew\n"
    weights = dict(found.named_parameters())
    last = "classifier.out_proj.weight" if name == "roberta" else "score.weight"
    assert weights[last].shape == (3, 64)
    assert weights[last].std() > 0.01
    for key, value in reward.named_parameters():
        assert key.startswith(last.removesuffix("weight")) or torch.equal(value, weights[key]), key
    assert torch.equal(dict(load(base, 1, 1, CPU).named_parameters())[last], weights[last])
    assert not torch.equal(dict(load(base, 2, 1, CPU).named_parameters())[last], weights[last])
    capsys.readouterr()
    load(base.model_copy(update={"objective": "mse"}), 1, 1, CPU)  # one output: the reward model's own
    assert capsys.readouterr().out == ""


def test_a_cap_that_is_taken_off_gives_sdpa_and_the_uncapped_logits(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(checkpoints["gemma2"], tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "attn_logit_softcapping": 0.05}))  # one that is felt
    base = settings(checkpoints["gemma2"], lora=None).model_copy(update={"backbone": str(tmp_path)})
    found = {}
    for softcapping, attention in (("keep", "eager"), ("none", "eager"), ("none", "sdpa"), ("none", "auto")):
        model = load(base.model_copy(update={"softcapping": softcapping, "attention": attention}), 1, 1, CPU)
        with torch.no_grad():
            found[softcapping, attention] = model.eval()(input_ids=IDS).logits
        assert model.config._attn_implementation == ("sdpa" if attention == "auto" else attention)
        assert (model.config.attn_logit_softcapping is None) == (softcapping == "none")
    plain = AutoModelForSequenceClassification.from_pretrained(
        tmp_path, num_labels=3, attn_implementation="eager", attn_logit_softcapping=None
    )
    plain.score.load_state_dict(model.score.state_dict())
    with torch.no_grad():
        expected = plain.eval()(input_ids=IDS).logits
    assert (found["none", "eager"] - expected).abs().max() < 1e-6
    assert (found["none", "sdpa"] - expected).abs().max() < 1e-5
    assert torch.equal(found["none", "auto"], found["none", "sdpa"])
    assert (found["keep", "eager"] - expected).abs().max() > 1e-3
    with pytest.raises(BadInput, match=r"attention: sdpa, which gemma2 .* does not have"):
        load(base.model_copy(update={"attention": "sdpa"}), 1, 1, CPU)
    with pytest.raises(BadInput, match=r"softcapping: none, but llama .* caps nothing; set it to keep"):
        load(settings(checkpoints["llama"], softcapping="none"), 1, 1, CPU)
