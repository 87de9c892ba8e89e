from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from battles.errors import BadInput
from battles.progress import Progress
from battles.schema import labels
from battles.swap import swap_probabilities
from models.transformer.backbone.pretrained import load_tokenizer
from models.transformer.data.tokenization import encode
from models.transformer.engine import training
from models.transformer.engine.prediction import predict_logits
from models.transformer.engine.training import count_steps, train
from models.transformer.settings import Transformer
from oof.probabilities import softmax
from tests.models.transformer.checkpoints import ARCHITECTURES, as_loaded, battles, load, settings

FP32 = torch.float32
STILL = 1e-30  # a learning rate that moves nothing


class Fold:
    """One model on the battles; trains and predicts."""

    def __init__(self, base: Transformer, targets: np.ndarray | None = None) -> None:
        tokenizer = load_tokenizer(base)
        self.base, self.pad = base, tokenizer.pad_token_id
        self.encoded = encode(tokenizer, battles(), base)
        self.targets = np.eye(3)[labels(battles())] if targets is None else targets
        self.model = load(base, 1, self.pad, torch.device("cpu"))
        self.evaluated: list[int] = []

    def losses(self, swapped: bool) -> float:
        """Mean cross-entropy of one response order, in evaluation mode (the tiny checkpoints have no dropout)."""
        logs = np.log(softmax(predict_logits(as_loaded(self.model, self.base, self.pad), self.encoded, swapped)))
        wanted = swap_probabilities(self.targets) if swapped else self.targets
        return float(-(wanted * logs).sum(axis=1).mean())

    def train(self, seed: int = 3) -> list[dict[str, Any]]:
        def evaluate(base: object) -> float:
            self.evaluated.append(1)
            return 0.5

        with Progress("training", count_steps(len(self.encoded), self.base)) as progress:
            base = as_loaded(self.model, self.base, self.pad)
            trained, curve = train(base, self.encoded, self.targets, seed, evaluate, progress)
        self.model = trained.model
        return curve

    def amplify(self) -> None:
        """Makes the untrained model's predictions differ clearly from battle to battle and order to order."""
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad and name.endswith(("weight", "score")) and "lora" not in name:
                    parameter.mul_(5)

    def weights(self) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in self.model.parameters() if p.requires_grad])


@pytest.fixture
def unregularised(monkeypatch: pytest.MonkeyPatch) -> None:
    """RoBERTa's head draws dropout in training; without it a training loss can be recomputed."""
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, values: values)


@pytest.mark.usefixtures("unregularised")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_loss_of_each_mode_is_the_cross_entropy_of_its_orders(checkpoints: dict[str, Path], name: str) -> None:
    common = {"learning_rate": STILL, "weight_decay": 0.0, "batch_size": 1000, "tokens_per_batch": 600}
    fold = Fold(settings(checkpoints[name], **common))
    fold.amplify()
    plain, swapped = fold.losses(False), fold.losses(True)
    for mode, expected in (("none", plain), ("both", (plain + swapped) / 2)):
        fold.base = settings(checkpoints[name], swap_training=mode, **common)
        assert [row["loss"] for row in fold.train()] == pytest.approx([expected], abs=1e-5)
    fold.base = settings(checkpoints[name], swap_training="alternate", epochs=2, **common)
    first, second = (row["loss"] for row in fold.train())
    # Two epochs of a coin that is turned over show every battle in both orders.
    assert first + second == pytest.approx(plain + swapped, abs=1e-5)
    assert abs(first - plain) > 1e-4
    assert abs(first - swapped) > 1e-4


@pytest.mark.usefixtures("unregularised")
def test_targets_may_be_probabilities(checkpoints: dict[str, Path]) -> None:
    soft = np.random.default_rng(0).dirichlet([1, 1, 1], len(battles()))
    fold = Fold(settings(checkpoints["llama"], learning_rate=STILL, batch_size=1000, swap_training="none"), soft)
    assert fold.train()[0]["loss"] == pytest.approx(fold.losses(False), abs=1e-5)


@pytest.mark.usefixtures("unregularised")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_how_a_step_is_cut_for_memory_changes_nothing(checkpoints: dict[str, Path], name: str) -> None:
    found = []
    for budget in (100, 100_000):
        fold = Fold(settings(checkpoints[name], tokens_per_batch=budget, learning_rate=1e-3))
        before = fold.weights()
        fold.train()
        found.append(fold.weights())
        assert (found[-1] - before).abs().max() > 1e-3
    # Adam divides by the gradient's size, so rounding shows most where gradients are near zero.
    assert (found[0] - found[1]).abs().mean() < 1e-5
    assert (found[0] - found[1]).abs().max() < 1e-3


def test_a_seed_fixes_every_bit(checkpoints: dict[str, Path]) -> None:
    one, same, other = (Fold(settings(checkpoints["roberta"])) for _ in range(3))
    curves = [fold.train(seed) for fold, seed in ((one, 3), (same, 3), (other, 4))]
    assert torch.equal(one.weights(), same.weights())
    assert [row["loss"] for row in curves[0]] == [row["loss"] for row in curves[1]]
    assert not torch.equal(one.weights(), other.weights())


@pytest.mark.parametrize(
    ("name", "quantization", "epochs", "rate"),
    [
        ("roberta", "none", 40, 3e-3),
        ("llama", "none", 12, 1e-2),
        ("llama", "nf4", 12, 1e-2),
        ("gemma2", "int8", 12, 1e-2),
    ],
)
def test_training_learns_the_votes_it_is_shown(
    checkpoints: dict[str, Path], name: str, quantization: str, epochs: int, rate: float
) -> None:
    base = settings(checkpoints[name], quantization=quantization, epochs=epochs, learning_rate=rate, batch_size=20)
    fold = Fold(base)
    before = fold.losses(False)
    fold.train()
    assert fold.losses(False) < before - 0.1


def test_the_curve_has_a_row_per_step_and_a_validation_per_epoch(checkpoints: dict[str, Path]) -> None:
    base = settings(checkpoints["llama"], epochs=2, warmup=0.5)
    fold = Fold(base)
    curve = fold.train()
    assert len(curve) == count_steps(len(fold.encoded), base) == 16
    assert [row["step"] for row in curve] == list(range(1, 17))
    assert [row["valid_log_loss"] is not None for row in curve] == [number in (8, 16) for number in range(1, 17)]
    assert len(fold.evaluated) == 2
    rates = [row["learning_rate"] for row in curve]
    assert rates.index(max(rates)) == 7
    assert max(rates) == base.learning_rate
    assert rates[-1] < 0.1 * base.learning_rate
    assert all(0 <= row["padding"] < 1 for row in curve)
    # The process alone, with its libraries, takes more than this; in kilobytes or pages it would be less.
    assert all(row["memory_bytes"] > 5e7 for row in curve)
    seconds = [row["seconds"] for row in curve]
    assert seconds == sorted(seconds)


def test_the_head_may_have_a_rate_of_its_own(checkpoints: dict[str, Path]) -> None:
    fold = Fold(settings(checkpoints["llama"], learning_rate=STILL, head_learning_rate=1e-2, weight_decay=0.0))
    before = {name: p.detach().clone() for name, p in fold.model.named_parameters() if p.requires_grad}
    fold.train()
    moved = {
        name for name, p in fold.model.named_parameters() if p.requires_grad and (p - before[name]).abs().max() > 1e-20
    }
    assert moved
    assert all("score" in name for name in moved)


def test_a_loss_that_is_not_finite_is_refused(checkpoints: dict[str, Path]) -> None:
    fold = Fold(settings(checkpoints["roberta"], learning_rate=1e6, warmup=0.0))
    with pytest.raises(BadInput, match=r"learning_rate: 1000000.0 made the loss nan at step \d"):
        fold.train()


class Overflow:
    """A hook on the token embedding that makes what comes of it infinite, at the calls numbered in `calls`."""

    def __init__(self, fold: Fold, calls: tuple[int, ...]) -> None:
        self.calls, self.made = calls, 0
        fold.model.get_input_embeddings().register_forward_hook(self)

    def __call__(self, module: torch.nn.Module, given: object, rows: torch.Tensor) -> torch.Tensor:
        self.made += 1
        return rows * torch.inf if self.made in self.calls else rows


def test_steps_that_overflow_in_half_precision_are_skipped_and_counted(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "OVERFLOWING", (torch.float32,))  # in place of a card's float16
    fold = Fold(settings(checkpoints["llama"]))
    Overflow(fold, (3, 5))
    before = fold.weights()
    curve = fold.train()
    assert [row["skipped"] for row in curve] == [0, 0, 1, 1, 2, 2, 2, 2]
    assert [np.isnan(row["loss"]) for row in curve] == [number in (3, 5) for number in range(1, 9)]
    assert fold.weights().isfinite().all()
    assert (fold.weights() - before).abs().max() > 1e-3
    assert "step 3: the loss is nan in auto; the step is skipped" in capsys.readouterr().out


def test_only_so_many_steps_may_overflow(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "OVERFLOWING", (torch.float32,))
    fold = Fold(settings(checkpoints["llama"]))
    Overflow(fold, tuple(range(2, 99)))
    with pytest.raises(BadInput, match=r"made the loss nan at step 5 of .*, after 3 skipped steps; use float32"):
        fold.train()
