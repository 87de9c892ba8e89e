"""The trial of the longest step, which several processes make before they train."""

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from battles.errors import BadInput
from models.transformer.engine import step
from models.transformer.engine.forward import Scorer
from models.transformer.engine.optimizer import make_optimizer, reserve_moments
from models.transformer.engine.step import GradientStep
from models.transformer.settings import Lora
from tests.models.transformer.checkpoints import as_loaded, settings
from tests.models.transformer.engine.test_training import Fold

CPU = torch.device("cpu")


def _try_longest(fold: Fold) -> None:
    scorer, optimizer = Scorer(fold.model), make_optimizer(fold.model, fold.base)
    base = as_loaded(fold.model, fold.base, fold.pad)
    gradients = GradientStep.of(Accelerator(cpu=True), scorer, base, fold.encoded, fold.targets)
    rows = np.arange(8)
    gradients.try_longest(scorer, optimizer, [(rows, rows < 4)])


def test_the_longest_step_is_tried_as_it_will_train(checkpoints: dict[str, Path]) -> None:
    """`from_pretrained` leaves a model in evaluation mode, in which transformers does not checkpoint."""
    fold = Fold(settings(checkpoints["llama"], gradient_checkpointing=True))
    calls = []
    fold.model.eval()
    layer = fold.model.get_base_model().model.layers[0].mlp
    layer.register_forward_pre_hook(lambda *_: calls.append(layer.training))
    _try_longest(fold)
    assert calls == [True, True]  # forward, and once more in the backward pass


def test_the_longest_step_is_tried_beside_the_moments_to_come(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fold = Fold(settings(checkpoints["llama"]))
    reserved: list[Any] = []

    def spy(*arguments: Any) -> torch.Tensor:
        moments = reserve_moments(*arguments)
        reserved.append(weakref.ref(moments))
        return moments

    alive = []
    monkeypatch.setattr(step, "reserve_moments", spy)
    fold.model.get_input_embeddings().register_forward_hook(lambda *_: alive.append(reserved[0]().nbytes))
    _try_longest(fold)
    trained = sum(p.numel() for p in fold.model.parameters() if p.requires_grad)
    assert alive == [8 * trained]
    assert reserved[0]() is None  # given back


@pytest.mark.parametrize("name", ["adamw", "adamw_8bit"])
def test_moments_that_are_there_are_not_reserved_again(checkpoints: dict[str, Path], name: str) -> None:
    fold = Fold(settings(checkpoints["llama"], optimizer=name, lora=Lora(rank=64, dropout=0.0)))
    optimizer = make_optimizer(fold.model, fold.base)
    before = reserve_moments(optimizer, fold.base, CPU).nbytes
    for parameter in fold.model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moments = ("exp_avg", "exp_avg_sq", "state1", "state2", "absmax1", "absmax2")
    assert before == sum(s[key].nbytes for s in optimizer.state.values() for key in moments if key in s)
    assert reserve_moments(optimizer, fold.base, CPU).nbytes == 0


def test_moments_that_do_not_fit_are_refused(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    fold = Fold(settings(checkpoints["llama"]))
    optimizer = make_optimizer(fold.model, fold.base)

    def full(*_: object, **__: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(BadInput, match=r"optimizer: the moments of adamw take 0.00 GB, .* use paged_adamw_8bit"):
        reserve_moments(optimizer, fold.base, CPU)
