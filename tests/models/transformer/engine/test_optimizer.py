from pathlib import Path

import pytest
import torch
from bitsandbytes.optim import AdamW8bit
from pydantic import ValidationError

from models.transformer.backbone.pretrained import load_tokenizer
from models.transformer.engine.optimizer import groups, make_optimizer, warmup_then_cosine
from models.transformer.settings import Lora, Transformer
from tests.models.transformer.checkpoints import load, settings


def _model(base: Transformer) -> torch.nn.Module:
    pad = load_tokenizer(base).pad_token_id
    model: torch.nn.Module = load(base, 1, pad, torch.device("cpu"))
    return model


def _rates(base: Transformer) -> dict[str, float]:
    model = _model(base)
    names = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    found = {names.pop(id(p)): group["lr"] for group in groups(model, base) for p in group["params"]}
    assert not names
    return found


def test_lora_plus_raises_the_rate_of_b_only(checkpoints: dict[str, Path]) -> None:
    lora = Lora(rank=4, plus_ratio=16)
    rates = _rates(settings(checkpoints["llama"], learning_rate=1e-4, head_learning_rate=3e-4, lora=lora))
    for name, rate in rates.items():
        assert rate == pytest.approx(3e-4 if "score" in name else 16e-4 if "lora_B" in name else 1e-4)
    assert {name.split(".")[-4] for name in rates if "lora" in name} >= {"q_proj", "down_proj"}
    plain = _rates(settings(checkpoints["llama"], learning_rate=1e-4, lora=Lora(rank=4)))
    assert set(plain.values()) == {1e-4}


def test_lora_plus_below_one_is_refused() -> None:
    with pytest.raises(ValidationError, match="plus_ratio"):
        Lora(plus_ratio=0.5)


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
@pytest.mark.parametrize("name", ["adamw_8bit", "paged_adamw_8bit"])
def test_8_bit_states_step_almost_as_32_bit_ones(checkpoints: dict[str, Path], name: str) -> None:
    moved = []
    for optimizer_name in ("adamw", name):
        base = settings(checkpoints["roberta"], optimizer=optimizer_name, learning_rate=1e-3)
        model = _model(base)
        optimizer = make_optimizer(model, base)
        before = torch.cat([p.detach().flatten() for p in model.parameters()])
        generator = torch.Generator().manual_seed(0)
        for _ in range(5):
            for p in model.parameters():
                p.grad = 1e-3 * torch.randn(p.shape, generator=generator)
            optimizer.step()
        moved.append(torch.cat([p.detach().flatten() for p in model.parameters()]) - before)
    assert isinstance(optimizer, AdamW8bit) or name.startswith("paged")
    states = {state["state1"].dtype for state in optimizer.state.values()}
    assert states == {torch.uint8, torch.float32}  # small tensors keep 32 bits
    assert float(torch.nn.functional.cosine_similarity(*moved, dim=0)) > 0.97
    assert float(moved[1].norm() / moved[0].norm()) == pytest.approx(1, abs=0.1)


def test_the_rate_rises_then_falls_to_zero() -> None:
    factor = warmup_then_cosine(100, 0.1)
    values = [factor(step) for step in range(100)]
    assert values[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert values[10:] == sorted(values[10:], reverse=True)
    assert values[10] == 1
    assert 0 < values[-1] < 1e-3
