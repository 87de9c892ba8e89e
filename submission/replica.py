"""What each of several processes does that read battles with a saved model, and what it is asked and answers.

It imports torch only once it knows its card, and ends when nobody asks any more, or when it has failed.
"""

import contextlib
import os
import signal
import traceback
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.transformer.library_warnings import quiet
from models.transformer.settings import Transformer
from submission.threads import limited_threads

if TYPE_CHECKING:
    from models.transformer.backbone.loading import LoadedBase
    from models.transformer.data.tokenization import Encoded


@dataclass(frozen=True)
class Load:
    """Asks a process for a model; the answer is what its packs are padded to a multiple of."""

    settings: Transformer
    folder: Path
    pad: int


@dataclass(frozen=True)
class Read:
    """Asks a process for the logits of one batch."""

    encoded: "Encoded"
    swapped: bool


@dataclass(frozen=True)
class Failure:
    """Why a process has ended, in a line, and its traceback."""

    reason: str
    trace: str = ""


def serve(connection: Connection, card: str | None, threads: int) -> None:
    """What each process does: loads the models and reads the batches that it is asked for, until nobody asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks is interrupted too, and closes the pipe
    if card is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = card
    quiet()
    base: LoadedBase | None = None
    with limited_threads(threads, torch_too=True), contextlib.suppress(EOFError, OSError):
        while True:
            order = connection.recv()
            try:
                if isinstance(order, Load):
                    base = None
                    free()
                    base = restored(order.settings, order.folder, order.pad)
                    answer: Any = _pack_multiple(base)
                else:
                    assert base is not None
                    base, answer = _read(base, order)
            except Exception as error:
                reason = next(iter(str(error).splitlines()), type(error).__name__)
                connection.send(Failure(reason, traceback.format_exc()))
                return
            connection.send(answer)


def _read(base: "LoadedBase", order: Read) -> tuple["LoadedBase", np.ndarray]:
    """The logits of a batch; and the model, with a smaller token budget where the memory ran out."""
    from models.transformer.engine.prediction import predict_logits

    parts: list[int] = []
    logits = predict_logits(base, order.encoded, order.swapped, parts.append)
    if len(parts) > 1:
        budget = max(64, base.settings.tokens_per_batch // 2)
        base = replace(base, settings=base.settings.model_copy(update={"tokens_per_batch": budget}))
    return base, logits


def _pack_multiple(base: "LoadedBase") -> int:
    from models.transformer.backbone.packing import pack_multiple

    return pack_multiple(base.model, base.settings)


def restored(settings: Transformer, folder: Path, pad: int) -> "LoadedBase":
    from models.transformer.backbone import loading
    from models.transformer.backbone.device import current_device

    return loading.restore(settings, folder / "model", pad, current_device())


def free() -> None:
    from models.transformer import fold
    from models.transformer.backbone.device import current_device

    fold.free(current_device())
