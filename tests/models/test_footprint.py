from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt

from models import backbone, footprint
from models.cards import Card, card
from models.hub import load_config
from models.preflight import resolve
from models.settings import Lora, Transformer
from tests.models.checkpoints import make_checkpoint, settings
from tests.models.configs import GEMMA_2_9B

WHERE = torch.device("cpu")
CPU = card(WHERE)
SERVER = Card("server card", "cuda", 80 * 2**30, (8, 0), 166_912)
CASES = [
    ("roberta", {}),
    ("roberta", {"frozen_layers": 1, "gradient_checkpointing": True}),
    ("llama", {}),
    ("llama", {"gradient_checkpointing": True, "dtype": "bfloat16"}),
    ("llama", {"quantization": "nf4", "dtype": "bfloat16"}),
    ("gemma2", {"dtype": "bfloat16", "frozen_layers": 1}),
    ("gemma2", {"quantization": "int8", "gradient_checkpointing": True}),
    ("gemma2", {"quantization": "nf4", "gradient_checkpointing": True}),
]


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_bytes_of_weights_are_those_of_the_loaded_model(
    checkpoints: dict[str, Path], name: str, changes: dict[str, Any]
) -> None:
    base = settings(checkpoints[name], **changes)
    found = footprint.estimate(resolve(base, CPU), load_config(base), CPU)
    model = backbone.load(base, 1, 1, WHERE)
    trained = [p for p in model.parameters() if p.requires_grad]
    frozen = chain(model.buffers(), (p for p in model.parameters() if not p.requires_grad))
    assert found.trained == sum(p.nbytes for p in trained)
    assert found.trained_parameters == sum(p.numel() for p in trained)
    assert found.weights == sum(t.nbytes for t in frozen) + sum(_beside(m) for m in model.modules())


def _beside(module: torch.nn.Module) -> int:
    """Bytes that a quantised layer keeps beside its weight: scales and tables."""
    if isinstance(module, Linear8bitLt):
        return module.weight.SCB.nbytes  # type: ignore[no-any-return]
    if isinstance(module, Linear4bit):
        state = module.weight.quant_state
        parts = (state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code)
        return sum(part.nbytes for part in parts)
    return 0


@pytest.mark.parametrize(("name", "changes"), CASES[1:7])
def test_the_step_takes_what_the_allocator_gives_out(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    """Against PyTorch's own account of the CPU allocator, over a real step of a model of five layers."""
    path = make_checkpoint(tmp_path, name, layers=5)
    base = settings(path, tokens_per_batch=4 * 96, **changes)
    found = footprint.estimate(resolve(base, CPU), load_config(base), CPU)
    measured = _measure(backbone.load(base, 1, 1, WHERE), base, found.rows)
    assert found.rows == 4
    assert found.step == pytest.approx(measured, rel=0.03)


def _measure(model: Any, base: Transformer, rows: int) -> int:
    """Peak bytes of forward and backward beyond what was there before, gradients included in that."""
    ids = torch.full((rows, base.max_length), 7)
    mask = torch.ones_like(ids)
    mask[1:, -9:] = 0  # without padding transformers would leave the mask out
    dtype = backbone.resolve_dtype(base, WHERE)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    model.train()
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
        torch.nn.functional.cross_entropy(logits, torch.ones(rows, 3), reduction="sum").backward()
    now = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


def test_gemma_2_9b_in_nf4_trains_2048_tokens_in_14_gb() -> None:
    base = Transformer(
        backbone="google/gemma-2-9b-it",
        max_length=2048,
        quantization="nf4",
        dtype="bfloat16",
        attention="eager",
        lora=Lora(),
        gradient_checkpointing=True,
        tokens_per_batch=2048,
    )
    found = footprint.estimate(base, GEMMA_2_9B, SERVER)
    assert (found.rows, found.tokens) == (1, 2048)
    assert found.parameters - found.trained_parameters == pytest.approx(9.24e9, rel=0.01)
    assert 8e9 < found.total < 14e9
    flex = footprint.estimate(base.model_copy(update={"attention": "flex_attention"}), GEMMA_2_9B, SERVER)
    assert flex.total < found.total


def test_the_step_is_linear_in_the_layers(tmp_path: Path) -> None:
    """Two and three layers stand for all: with one more the figure grows by what the last one added."""
    found = []
    base = settings(make_checkpoint(tmp_path, "llama"), quantization="none")
    config = load_config(base)
    for layers in (3, 4, 5):
        config.num_hidden_layers = layers
        found.append(footprint.estimate(resolve(base, CPU, config), config, CPU).step)
    assert found[2] - found[1] == found[1] - found[0] > 0


def test_checkpointing_smaller_batches_and_frozen_layers_take_less(checkpoints: dict[str, Path]) -> None:
    base = settings(checkpoints["gemma2"], tokens_per_batch=384)
    config = load_config(base)
    config.num_hidden_layers, config.layer_types = 8, ["full_attention"] * 8

    def step(**changes: object) -> int:
        return footprint.estimate(resolve(base.model_copy(update=changes), CPU, config), config, CPU).step

    whole = step()
    assert step(gradient_checkpointing=True) < whole / 2
    assert step(tokens_per_batch=192) < 0.6 * whole
    assert step(frozen_layers=4) < 0.6 * whole
