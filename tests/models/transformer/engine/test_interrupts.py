"""A training that a signal ends has saved where it stands, and ends in the same bits as an undisturbed one."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from models.transformer.engine.interrupts import SIGNALS, Deferred
from models.transformer.engine.training import _Optimization
from stages.endings import Interrupted, raise_on_signals
from tests.models.transformer.engine.small_training import EPOCH_ENDS_ONLY, LORA, Deadly, assert_same, run, small_base


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    raise_on_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Struck:
    """Wraps a function so that its `at`-th call gets a signal before it, or after it."""

    def __init__(self, function: Callable[..., Any], at: int, number: signal.Signals, after: bool = False) -> None:
        self.function, self.left, self.number, self.after = function, at, number, after

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.left -= 1
        if not self.left and not self.after:
            os.kill(os.getpid(), self.number)
        found = self.function(*arguments, **named)
        if not self.left and self.after:
            os.kill(os.getpid(), self.number)
        return found


def _where(place: str) -> tuple[Any, str]:
    """What is wrapped: the middle of a forward pass, of the backward pass, of an update, or the progress after it."""
    return {
        "forward": (torch.nn.functional, "dropout"),
        "backward": (torch.Tensor, "backward"),
        "update": (_Optimization, "update"),
        "progress": (Deadly, "advance"),
    }[place]


@pytest.mark.parametrize("name", ["roberta", "llama"])
@pytest.mark.parametrize(
    ("place", "at", "after", "saved"),
    [
        ("forward", 2, True, 0),  # of the first step: nothing but the start to go on from
        ("backward", 2, False, 1),
        ("backward", 4, True, 3),
        ("update", 2, False, 2),  # an update that has begun is made
        ("update", 3, True, 3),  # the last step of the first epoch, before its evaluation
        ("progress", 6, False, 6),
    ],
)
def test_interrupted_and_resumed_is_the_same_to_the_bit(
    checkpoints: dict[str, Path], tmp_path: Path, name: str, place: str, at: int, after: bool, saved: int
) -> None:
    changes = {"lora": LORA} if name == "llama" else {}
    base = small_base(checkpoints[name], checkpoint_minutes=EPOCH_ENDS_ONLY, **changes)
    path = tmp_path / "checkpoint.pt"
    owner, attribute = _where(place)
    with pytest.MonkeyPatch.context() as patch:
        struck = Struck(getattr(owner, attribute), at, signal.SIGTERM, after)
        patch.setattr(owner, attribute, lambda *a, **k: struck(*a, **k))
        with pytest.raises(Interrupted) as interrupted:
            run(base, path)
    assert interrupted.value.number == signal.SIGTERM
    assert len(torch.load(path)["curve"]) == saved
    assert_same(run(base, path), run(base, None))


def test_an_interrupted_evaluation_is_made_after_all(
    checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = small_base(checkpoints["roberta"], checkpoint_minutes=EPOCH_ENDS_ONLY)
    path = tmp_path / "checkpoint.pt"
    with pytest.MonkeyPatch.context() as patch:
        evaluation = Struck(torch.Tensor.double, 2, signal.SIGINT)
        patch.setattr(torch.Tensor, "double", lambda tensor: evaluation(tensor))
        with pytest.raises(Interrupted):
            run(base, path)
    kept = torch.load(path)["curve"]
    assert len(kept) == 3
    assert kept[-1]["valid_log_loss"] is None
    assert f"{path}: saved after step 3\n" in capsys.readouterr().out
    assert_same(run(base, path), run(base, None))


@pytest.mark.parametrize("number", SIGNALS)
def test_a_deferred_signal_is_handled_when_its_context_is_left(number: signal.Signals) -> None:
    reached = []
    with pytest.raises(Interrupted) as interrupted:  # noqa: PT012
        with Deferred() as waiting:
            with Deferred():
                os.kill(os.getpid(), number)
                reached.append("inner")
            reached.append("outer")
            assert waiting.came
        reached.append("after")
    assert reached == ["inner", "outer"]
    assert interrupted.value.number == number


def test_an_ignored_signal_stays_ignored_and_an_inactive_context_holds_none() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Deferred() as waiting:
        os.kill(os.getpid(), signal.SIGINT)
    assert not waiting.came
    with pytest.raises(Interrupted), Deferred(active=False):
        os.kill(os.getpid(), signal.SIGTERM)
