"""Where a saved language model reads battles: in this process, or in one process on each of several cards.

Several processes, each with the whole model, read the batches that one process would read: the logits are the same.
Whoever is free takes the next batch, and as batches have like numbers of tokens, so has each card. A process that fails
costs its batch one more try, on another card; the second time is the end of the model, not of the prediction.

The processes are joined by pipes, not by torch.distributed: its launcher ends all when one has failed, its collective
operations wait for whoever is gone, and both need a network interface, which a sandbox may lack.
"""

import contextlib
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from models.transformer.settings import Transformer
from submission.replica import Failure, Load, Read, free, restored, serve

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from models.transformer.backbone.loading import LoadedBase
    from models.transformer.data.tokenization import Encoded

# Seconds until the exit code of a process is known whose pipe has ended.
PATIENCE = 5.0


class Engine(Protocol):
    """What reads battles with one saved model at a time. at_once: batches that are read at the same time."""

    at_once: int

    def load(self, settings: Transformer, folder: Path, pad: int) -> None:
        """Makes the model that was saved in `folder` ready; `settings` are resolved."""

    def logits(
        self, encoded: "Encoded", swapped: bool, advance: Callable[[int], None], stop: Callable[[], bool]
    ) -> np.ndarray:
        """As `models.transformer.engine.prediction.predict_logits` of the loaded model."""
        ...

    def unload(self) -> None:
        """Gives the model's memory back."""


class ThisProcess:
    """Reads in this process, on its one device."""

    at_once = 1

    def __init__(self) -> None:
        self._base: LoadedBase | None = None

    def load(self, settings: Transformer, folder: Path, pad: int) -> None:
        self._base = restored(settings, folder, pad)

    def logits(
        self, encoded: "Encoded", swapped: bool, advance: Callable[[int], None], stop: Callable[[], bool]
    ) -> np.ndarray:
        from models.transformer.engine.prediction import predict_logits

        assert self._base is not None
        return predict_logits(self._base, encoded, swapped, advance, stop)

    def unload(self) -> None:
        self._base = None
        free()


@dataclass(frozen=True)
class _Batch:
    """Positions of battles that are read together; `tried` says that a process has failed with them."""

    rows: np.ndarray
    tried: bool = False


@dataclass(frozen=True)
class _Replica:
    """One of the processes."""

    name: str
    process: "BaseProcess"
    connection: Connection

    def ask(self, order: Load | Read) -> None:
        with contextlib.suppress(OSError):  # it is gone: `answer` says so
            self.connection.send(order)

    def answer(self) -> Any:
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join(PATIENCE)
            return Failure(f"its process ended with exit code {self.process.exitcode}")

    def end(self) -> None:
        """Ends the process, which has nothing to save."""
        self.connection.close()
        self.process.kill()
        self.process.join()


class Replicas:
    """So many processes, one for each card of the machine, or on its CPU where it has none; a context to be left.

    threads: of the linear algebra in each, 0 for as many as it likes. say: gets a line for each process that fails.
    """

    def __init__(self, count: int, threads: int, say: Callable[[str], None] = print) -> None:
        self.at_once = count
        self._threads, self._say = threads, say
        self._running: dict[int, _Replica] = {}
        self._settings: Transformer | None = None
        self._multiple = 0

    def __enter__(self) -> "Replicas":
        return self

    def __exit__(self, *_: object) -> None:
        self._end_all()

    @property
    def processes(self) -> list[int]:
        """Numbers of the processes that run."""
        return [replica.process.pid or 0 for replica in self._running.values()]

    def load(self, settings: Transformer, folder: Path, pad: int) -> None:
        """Has all processes load the model, those that have failed before in a new process.

        Raises RuntimeError where none can.
        """
        for number in range(self.at_once):
            if number not in self._running:
                self._running[number] = _start(number, self._threads)
        for replica in self._running.values():
            replica.ask(Load(settings, folder, pad))
        for number, replica in list(self._running.items()):
            answer = replica.answer()
            if isinstance(answer, Failure):
                self._drop(number, answer, "without it")
            else:
                self._multiple = answer
        self._settings = settings

    def logits(
        self, encoded: "Encoded", swapped: bool, advance: Callable[[int], None], stop: Callable[[], bool]
    ) -> np.ndarray:
        """Logits as one process gives them. Raises RuntimeError where a batch fails twice, or no process is left."""
        from models.transformer.data.batching import batches

        assert self._settings is not None
        found = np.full((len(encoded), self._settings.outputs), np.nan)
        parts = batches(encoded.lengths, self._settings.tokens_per_batch, self._multiple)
        waiting, read_now = deque(map(_Batch, parts)), dict[int, _Batch]()
        while True:
            for number in self._running.keys() - read_now.keys():
                if waiting and not stop():
                    read_now[number] = waiting.popleft()
                    self._running[number].ask(Read(encoded.rows(read_now[number].rows), swapped))
            if not read_now:
                return found
            for number in self._answering(read_now):
                batch, answer = read_now.pop(number), self._running[number].answer()
                if not isinstance(answer, Failure):
                    found[batch.rows] = answer
                    advance(len(batch.rows))
                    continue
                if batch.tried:
                    self._end_all()
                    raise RuntimeError(f"a batch failed in two processes: {answer.reason}")
                self._drop(number, answer, f"its {len(batch.rows)} battles are read by another")
                waiting.appendleft(_Batch(batch.rows, tried=True))

    def unload(self) -> None:
        """Nothing: the next model takes the place of this one."""

    def _answering(self, read_now: dict[int, _Batch]) -> Iterator[int]:
        """Waits for processes to answer or to end; the numbers of those that did."""
        connections = {self._running[number].connection: number for number in read_now}
        for ready in wait(list(connections)):
            assert isinstance(ready, Connection)
            yield connections[ready]

    def _drop(self, number: int, failure: Failure, then: str) -> None:
        """Goes on without a process that has failed. Raises RuntimeError where it was the last one."""
        replica = self._running.pop(number)
        replica.end()
        if failure.trace:
            self._say(failure.trace)
        if not self._running:
            raise RuntimeError(f"{replica.name}, the last one that read, failed: {failure.reason}")
        self._say(f"{replica.name} FAILED: {failure.reason}; {then}")

    def _end_all(self) -> None:
        while self._running:
            self._running.popitem()[1].end()


def _start(number: int, threads: int) -> _Replica:
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    ours, theirs = context.Pipe()
    card = _card(number)
    process = context.Process(target=serve, args=(theirs, card, threads), daemon=True)
    process.start()
    theirs.close()  # so that its end is seen when the process ends
    return _Replica(f"process {number}" if card is None else f"card {card}", process, ours)


def _card(number: int) -> str | None:
    """The number of a process's card, as CUDA_VISIBLE_DEVICES names it; None without any."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    return named.split(",")[number % count] if count else None
