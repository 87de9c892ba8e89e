from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from battles.errors import BadInput
from models.transformer.data.batching import batches
from models.transformer.engine import out_of_memory
from models.transformer.engine.prediction import predict_logits
from tests.models.transformer.checkpoints import as_loaded, settings
from tests.models.transformer.engine.test_training import Fold


class Hungry:
    """A hook on the token embedding: no room for more than `tokens`, and none at the calls numbered in `never`."""

    def __init__(self, fold: Fold, tokens: int = 10**9, never: tuple[int, ...] = ()) -> None:
        self.tokens, self.never = tokens, never
        self.sizes: list[int] = []
        self.refused = 0
        fold.model.get_input_embeddings().register_forward_pre_hook(self)

    def __call__(self, module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        self.sizes.append(inputs[0].numel())
        if self.sizes[-1] > self.tokens or len(self.sizes) in self.never:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("batching", ["padded", "packed"])
def test_prediction_goes_on_with_half_of_the_budget(
    checkpoints: dict[str, Path], batching: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = settings(checkpoints["llama"], tokens_per_batch=2000, batching=batching)
    fold = Fold(base)
    undisturbed = predict_logits(as_loaded(fold.model, base, fold.pad), fold.encoded, True)
    hungry = Hungry(fold, 700, never=(5,))
    counted: list[int] = []
    found = predict_logits(as_loaded(fold.model, base, fold.pad), fold.encoded, True, counted.append)
    assert np.abs(found - undisturbed).max() < 1e-5
    assert sum(counted) == len(fold.encoded)
    assert hungry.refused == 3  # 2000, 1000, and once more in the middle
    assert max(hungry.sizes[5:]) <= 250
    said = capsys.readouterr().out
    assert "out of memory with 2000 tokens a batch; going on with" in said


@pytest.mark.parametrize("batching", ["padded", "packed"])
@pytest.mark.parametrize("never", [(1,), (2,), (4, 6)])
def test_a_training_step_is_done_again_whole(
    checkpoints: dict[str, Path], batching: str, never: tuple[int, ...]
) -> None:
    """Also where the memory runs out in the middle of a step, when part of its gradients is there."""
    changes = {"tokens_per_batch": 400, "batching": batching, "learning_rate": 1e-3, "lora": None}
    fold, disturbed = (Fold(settings(checkpoints["llama"], **changes)) for _ in range(2))
    before = fold.weights()
    hungry = Hungry(disturbed, never=never)
    curve, other = fold.train(), disturbed.train()
    assert hungry.refused == len(never)
    assert [row["loss"] for row in other] == pytest.approx([row["loss"] for row in curve], abs=1e-4)
    assert len(other) == len(curve)
    assert (fold.weights() - before).abs().max() > 1e-3
    # Adam divides by the gradient's size, so rounding shows most where gradients are near zero.
    assert (fold.weights() - disturbed.weights()).abs().mean() < 1e-5


def test_a_battle_that_does_not_fit_alone_is_refused(checkpoints: dict[str, Path]) -> None:
    base = settings(checkpoints["llama"], tokens_per_batch=1000)
    fold = Fold(base)
    Hungry(fold, 20)
    message = r"max_length: 96: a single batch of 96 tokens .*tokens_per_batch .* quantization \(it is none\)"
    with pytest.raises(BadInput, match=message):
        predict_logits(as_loaded(fold.model, base, fold.pad), fold.encoded, False)
    with pytest.raises(BadInput, match=message):
        fold.train()


def test_the_budget_falls_until_something_is_split(checkpoints: dict[str, Path]) -> None:
    base = settings(checkpoints["llama"])
    lengths = np.array([100, 90, 80, 10])
    for multiple, tokens in ((0, 400), (1, 280), (128, 384)):
        assert out_of_memory.halve_token_budget(16384, lengths, multiple, base) == tokens // 2
        budget = 16384
        while len(batches(lengths, budget, multiple)) == 1:
            budget = out_of_memory.halve_token_budget(budget, lengths, multiple, base)
        assert 0 < budget < tokens
    with pytest.raises(BadInput, match="a single batch of 128 tokens"):
        out_of_memory.halve_token_budget(128, np.array([50, 50]), 128, base)
