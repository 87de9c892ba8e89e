from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

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
    assert throughput.training_factor(base.model_copy(update={"lora": None}), 2) == 3
    full = base.model_copy(update={"lora": None, "gradient_checkpointing": True})
    assert throughput.training_factor(full, 2) == 4
    assert throughput.training_factor(full.model_copy(update={"frozen_layers": 1}), 2) == 2.5


def test_the_rate_is_measured() -> None:
    assert throughput.matmul_rate(CPU, torch.float32, 64, 64, 64) > 1e6
