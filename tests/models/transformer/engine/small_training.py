"""One small training, run from a checkpoint or from its beginning, and compared to the bit."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from battles.progress import Progress
from models.transformer.backbone.loading import LoadedBase
from models.transformer.backbone.pretrained import load_tokenizer
from models.transformer.data.tokenization import encode
from models.transformer.engine.training import count_steps, train
from models.transformer.settings import Lora, Transformer
from tests.models.transformer.checkpoints import as_loaded, battles, load, settings

CPU = torch.device("cpu")
ROWS, STEPS = 24, 6
LORA = Lora(rank=4, dropout=0.2)
EVERY_STEP, EPOCH_ENDS_ONLY = 0.0, 1e9


class Killed(BaseException):
    """Not an Exception: nothing in between may catch it, as nothing catches a signal."""


class Deadly(Progress):
    """Ends the training after this many steps of this process."""

    def __init__(self, after: int) -> None:
        super().__init__("training", STEPS)
        self.left = after

    def advance(self, units: int, note: str = "") -> None:
        self.left -= units
        if self.left < 0:
            raise Killed


def small_base(path: Path, **changes: object) -> Transformer:
    base = {"max_length": 72, "epochs": 2, "learning_rate": 3e-3, "warmup": 0.3, "checkpoint_minutes": EVERY_STEP}
    return settings(path, **{**base, **changes})


def run(base: Transformer, checkpoint_path: Path | None, after: int = STEPS) -> tuple[dict[str, torch.Tensor], Any]:
    """The trained parameters and the curve, without its clocks and memory."""
    tokenizer = load_tokenizer(base)
    encoded = encode(tokenizer, battles().head(ROWS), base)
    targets = np.random.default_rng(0).dirichlet([1, 1, 1], ROWS)
    assert count_steps(ROWS, base) == STEPS
    model = load(base, 1, tokenizer.pad_token_id, CPU)

    def evaluate(current: LoadedBase) -> float:
        # As the real one does: evaluation mode, and a figure of the weights.
        current.model.eval()
        return float(sum(p.detach().double().sum() for p in current.model.parameters() if p.requires_grad))

    loaded = as_loaded(model, base, tokenizer.pad_token_id)
    _, curve = train(loaded, encoded, targets, 3, evaluate, Deadly(after), checkpoint_path)
    kept = ("step", "epoch", "loss", "learning_rate", "padding", "valid_log_loss")
    trained = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    return trained, [{name: row[name] for name in kept} for row in curve]


def assert_same(one: Any, other: Any) -> None:
    assert one[1] == other[1]
    assert one[0].keys() == other[0].keys()
    assert all(torch.equal(value, other[0][name]) for name, value in one[0].items())
