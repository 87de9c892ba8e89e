from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from battles.errors import BadInput
from models.transformer.backbone import meta_device
from models.transformer.backbone.device import device_spec
from models.transformer.backbone.pretrained import load_config
from models.transformer.planning import throughput
from models.transformer.planning.preflight import resolve
from tests.models.transformer.checkpoints import load, settings
from tests.models.transformer.configs import GEMMA_2_9B

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["roberta", "llama", "gemma2"])
@pytest.mark.parametrize("lora", [True, False])
def test_operations_are_those_that_pytorch_counts(checkpoints: dict[str, Path], name: str, lora: bool) -> None:
    changes = {} if lora else {"lora": None}
    base = resolve(settings(checkpoints[name], attention="eager", **changes), device_spec(CPU))
    found = throughput.forward_flops(meta_device.bare(base, load_config(base)), 4 * 96, 4 * 96**2)
    model = load(base, 1, 1, CPU)
    ids = torch.full((4, 96), 9)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=ids, use_cache=False)
    # What the formula leaves out is the rest: adapters, and RoBERTa's head, which is a layer of its own.
    assert (0.8 if base.lora else 0.95) * counter.get_total_flops() < found <= counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        model.train()(input_ids=ids, use_cache=False).logits.sum().backward()
    factor = throughput.training_factor(base, model.config.num_hidden_layers)
    assert factor * found == pytest.approx(counter.get_total_flops(), rel=0.3 if base.lora else 0.1)


def test_a_token_of_gemma_2_9b_takes_twice_its_weights(checkpoints: dict[str, Path]) -> None:
    base = resolve(settings(checkpoints["gemma2"]), device_spec(CPU), GEMMA_2_9B)
    model = meta_device.bare(base, GEMMA_2_9B)
    assert throughput.forward_flops(model, 1, 0) == pytest.approx(2 * 8.32e9, rel=0.01)


def test_training_factors(checkpoints: dict[str, Path]) -> None:
    base = settings(checkpoints["llama"])
    assert throughput.training_factor(base, 2) == 2
    assert throughput.training_factor(base.model_copy(update={"gradient_checkpointing": True}), 2) == 3
    every = {"gradient_checkpointing": True, "checkpoint_every": 4}
    assert throughput.training_factor(base.model_copy(update=every), 8) == 2.25
    assert throughput.training_factor(base.model_copy(update={"lora": None}), 2) == 3
    full = base.model_copy(update={"lora": None, "gradient_checkpointing": True})
    assert throughput.training_factor(full, 2) == 4
    assert throughput.training_factor(full.model_copy(update={"frozen_layers": 1}), 2) == 2.5


def test_a_matrix_product_of_random_numbers_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, ...]] = []
    real = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *size, **options: drawn.append(size) or real(*size, **options))
    assert throughput.matmul_rate(CPU, torch.float32, 64) > 1e6
    assert drawn == [(64, 64), (64, 64)]


CASES = [
    ("roberta", {}),
    ("llama", {"gradient_checkpointing": True, "dtype": "bfloat16"}),
    ("llama", {"quantization": "nf4"}),
    ("gemma2", {"quantization": "int8", "frozen_layers": 1}),
]


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_what_is_timed_is_the_base_s_own_step(
    checkpoints: dict[str, Path], name: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its layers, quantised and with adapters; one forward and one backward pass a run, then forward passes alone."""
    timed: list[tuple[str, int]] = []
    backward: list[int] = []
    made: list[Any] = []
    real = throughput._random_layers

    def spy(*arguments: Any) -> Any:
        made.append(real(*arguments))
        return made[-1]

    def seconds(work: Callable[[], None], device: torch.device) -> float:
        began = made[-1].training
        backward.clear()
        work()
        timed.append(("train" if began else "read", len(backward)))
        return 6.0 if began else 2.0

    pass_back = torch.Tensor.backward
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss: backward.append(1) or pass_back(loss))
    monkeypatch.setattr(throughput, "_random_layers", spy)
    monkeypatch.setattr(throughput, "_median_seconds", seconds)
    base = resolve(settings(checkpoints[name], **changes), device_spec(CPU))
    config = load_config(base)
    config.num_hidden_layers = 6
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types * 3
    model = meta_device.bare(base, config)
    counts = np.array([40, 80, 96, 96])
    pace = throughput.timed_pace(base, config, model, counts, CPU)
    assert timed == [("train", 1), ("read", 0)]
    kinds = {type(module).__name__ for module in made[0].modules()}
    assert ("Linear4bit" in kinds) == (base.quantization == "nf4")
    assert ("Linear8bitLt" in kinds) == (base.quantization == "int8")
    assert any("lora_A" in key for key, _ in made[0].named_parameters()) == (base.lora is not None)
    length, rows = 85, 8  # the mean over tokens, and a step's battles
    waste = 4 * 96 / counts.sum()  # one batch, padded to the longest
    token = 2.0 / (2 * rows * length) * waste * counts.mean()
    assert pace.read == pytest.approx(6 * token)
    assert pace.learn == pytest.approx((6 - base.frozen_layers) * 3 * token + base.frozen_layers * token)


def test_rows_are_fewer_where_the_memory_runs_out(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = resolve(settings(checkpoints["llama"]), device_spec(CPU))
    tried: list[int] = []

    def runs(model: Any, settings: Any, rows: int, *_: object) -> tuple[float, float] | None:
        tried.append(rows)
        return (2.0 * rows, 1.0 * rows) if rows <= limit else None

    monkeypatch.setattr(throughput, "_run_times", runs)
    config, counts = load_config(base), np.full(8, 50)
    model = meta_device.bare(base, config)
    limit = 2
    few = throughput.timed_pace(base, config, model, counts, CPU)
    assert tried == [8, 4, 2]
    limit = 8
    assert throughput.timed_pace(base, config, model, counts, CPU).learn == pytest.approx(few.learn)
    limit = 0
    with pytest.raises(BadInput, match="max_length: a battle of 50 tokens does not fit 2 layers"):
        throughput.timed_pace(base, config, model, counts, CPU)


def test_the_times_are_real(checkpoints: dict[str, Path]) -> None:
    base = resolve(settings(checkpoints["llama"]), device_spec(CPU))
    config = load_config(base)
    pace = throughput.timed_pace(base, config, meta_device.bare(base, config), np.full(8, 50), CPU)
    assert 0 < pace.read < pace.learn < 1
    assert 1e6 < pace.flops < 1e13
