from pathlib import Path

import pytest
import torch
from peft.tuners.lora import LoraLayer

from models.transformer.settings import Lora
from tests.models.transformer.checkpoints import load, settings

CPU = torch.device("cpu")
IDS = torch.arange(8, 24).reshape(1, 16)


def test_adapters_take_their_inputs_as_they_are(checkpoints: dict[str, Path]) -> None:
    """In 16 bits PEFT's cast to fp32 would be undone by autocast, and kept for the backward pass."""
    model = load(settings(checkpoints["llama"], dtype="bfloat16", lora=Lora(rank=4, dropout=0.0)), 1, 1, CPU).train()
    kept: list[torch.dtype] = []
    for module in model.modules():
        if isinstance(module, LoraLayer):
            for adapter in module.lora_A.values():
                adapter.register_forward_pre_hook(lambda _, given: kept.append(given[0].dtype))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_B" in key:
                parameter.normal_(std=0.1)
        with torch.autocast("cpu", torch.bfloat16):
            model(input_ids=IDS)
        assert set(kept) == {torch.bfloat16}
        found = []
        for casts in (False, True):  # by PEFT's own forward
            for module in model.modules():
                if isinstance(module, LoraLayer):
                    module.__dict__.pop("forward", None)
                    module.cast_input_dtype_enabled = casts
            kept.clear()
            with torch.autocast("cpu", torch.bfloat16):
                found.append(model(input_ids=IDS).logits)
        assert torch.equal(*found)
    assert torch.float32 in kept
    wide = load(settings(checkpoints["llama"], dtype="float32"), 1, 1, CPU)
    assert all(m.cast_input_dtype_enabled for m in wide.modules() if isinstance(m, LoraLayer))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_sum_in_an_adapters_product_is_pefts(checkpoints: dict[str, Path], dropout: float) -> None:
    base = settings(checkpoints["llama"], lora=Lora(rank=4, alpha=6, dropout=dropout), dtype="float32")
    found = []
    for own in (True, False):
        model = load(base, 1, 1, CPU)
        adapters = [module for module in model.modules() if isinstance(module, LoraLayer)]
        assert len(adapters) == 2 * 7
        for module in adapters:
            torch.nn.init.normal_(module.lora_B["default"].weight, std=0.1, generator=torch.Generator().manual_seed(2))
            if not own:  # back to PEFT's own forward
                del module.forward
        torch.manual_seed(3)  # dropout
        logits = model.train()(input_ids=IDS).logits
        logits.square().sum().backward()
        found.append([logits, *(p.grad for p in model.parameters() if p.requires_grad)])
        model.eval().merge_adapter()
        found[-1].append(model(input_ids=IDS).logits)
    for ours, pefts in zip(*found, strict=True):
        assert (ours - pefts).norm() <= 1e-5 * pefts.norm()
