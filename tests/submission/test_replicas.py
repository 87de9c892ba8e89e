"""Two real processes that read a saved model together: what one reads, byte for byte, whichever of them fails."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from battles.reading import read_battles
from models.transformer.data.tokenization import Encoded
from models.transformer.settings import Transformer
from submission import kernel, replicas
from submission.bundle import Target, write_bundle
from submission.predict import Predictor
from submission.readers import SavedReader, open_readers
from submission.replica import Failure, Read
from submission.replicas import Engine, Replicas, ThisProcess
from submission.table import to_csv
from tests.robustness.stages_in_process import RUN
from tests.submission.small_run import MODELS


def small_reader(small: Path, engine: Engine) -> SavedReader:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(small)
        predictor = Predictor(small / MODELS)
        readers = open_readers(predictor, read_battles("test.csv", voted=False), engine, _raise)
    return readers["llama"][0]


def _raise(name: str, error: Exception) -> None:
    raise error


def read(
    reader: SavedReader, rows: np.ndarray, swapped: bool = False, advance: Callable[[int], None] = lambda rows: None
) -> np.ndarray:
    return reader.read(rows, swapped, advance, lambda: False)


def test_two_processes_read_what_one_reads_until_a_batch_fails_in_both(small: Path) -> None:
    said: list[str] = []
    alone = small_reader(small, ThisProcess())
    alone.load()
    whole = {swapped: read(alone, np.arange(40), swapped) for swapped in (False, True)}
    with Replicas(2, 1, said.append) as both:
        reader = small_reader(small, both)
        reader.load()
        assert len({*both.processes, os.getpid()}) == 3
        for rows in (np.arange(40), np.array([7, 3, 31])):
            for swapped in (False, True):
                batches: list[int] = []
                found = read(reader, rows, swapped, batches.append)
                assert found.tobytes() == read(alone, rows, swapped).tobytes()
                assert sum(batches) == len(rows)
        asked: list[int] = []
        some = reader.read(np.arange(40), False, asked.append, lambda: len(asked) >= 2)
        done = np.isfinite(some).all(axis=1)
        assert 0 < done.sum() == sum(asked) < 40
        assert np.array_equal(some[done], whole[False][done])

        assert said == []
        reader._context.tokens.pieces[0][5][:] = 1_000_000  # there is no such token
        with pytest.raises(RuntimeError, match=r"a batch failed in two processes: index out of range"):
            read(reader, np.arange(40))
        assert sum("FAILED: index out of range in self; its" in line for line in said) == 1
        assert any("Traceback" in line for line in said)
        assert both.processes == []


class Answering:
    """Stands for a process: answers at once, and fails with batches that hold a battle of so many tokens."""

    ended: ClassVar[list[int]] = []

    def __init__(self, number: int, fails_at: int) -> None:
        self.name, self.number, self.connection, self.fails_at = f"process {number}", number, number, fails_at
        self.process = SimpleNamespace(pid=number)
        self.order: object = None

    def ask(self, order: object) -> None:
        self.order = order

    def answer(self) -> object:
        if not isinstance(self.order, Read):
            return 0
        if (self.order.encoded.lengths >= self.fails_at).any():
            return Failure(f"process {self.number} dislikes it")
        return np.full((len(self.order.encoded), 3), float(self.number))

    def end(self) -> None:
        self.ended.append(self.number)


def stand_in(monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    monkeypatch.setattr(Answering, "ended", [])
    monkeypatch.setattr(replicas, "_start", lambda number, threads: Answering(number, fails_at))
    monkeypatch.setattr(Replicas, "_answering", lambda self, read_now: list(read_now))


def test_a_batch_is_tried_twice_and_not_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, fails_at=17)
    settings = Transformer(backbone="x", max_length=32, tokens_per_batch=64, batching="padded")
    lengths = np.array([16] * 12 + [17])
    pieces = tuple([np.zeros(4, np.int32)] * 13 for _ in range(3))
    encoded = Encoded(pieces, tuple(np.zeros(1, np.int32) for _ in range(4)), lengths)  # type: ignore[arg-type]
    said: list[str] = []
    with Replicas(3, 1, said.append) as three:
        three.load(settings, Path("nowhere"), 0)
        with pytest.raises(RuntimeError, match=r"a batch failed in two processes: process \d dislikes it"):
            three.logits(encoded, False, lambda rows: None, lambda: False)
        assert sorted(Answering.ended) == [0, 1, 2]
        assert len(said) == 1
        three.load(settings, Path("nowhere"), 0)  # all are started anew
        found = three.logits(encoded.rows(np.arange(12)), False, lambda rows: None, lambda: False)
        assert np.isfinite(found).all()
        assert len(np.unique(found)) == 3  # all of them have read


def killer(running: Replicas) -> Callable[[int], None]:
    """Kills a process after the first batch, for good."""
    waiting = [True]

    def advance(rows: int) -> None:
        if waiting:
            waiting.clear()
            os.kill(running.processes[0], signal.SIGKILL)

    return advance


@pytest.fixture(scope="module")
def packed(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(small)
        write_bundle(MODELS, folder, Target("somebody", "lmsys-chatbot-arena"))
    return folder


def predicted(small: Path, packed: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The file of a bundle that reads with two processes."""
    monkeypatch.setattr(sys, "argv", ["predict.py", "--input", str(small), "--hours", "1", "--replicas", "2"])
    kernel.main(packed)
    return Path("submission.csv").read_bytes()


def test_the_battles_of_a_killed_process_are_read_by_the_other(
    small: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    logits, first = Replicas.logits, [True]

    def killed(
        self: Replicas, encoded: Encoded, swapped: bool, advance: Callable[[int], None], stop: Callable[[], bool]
    ) -> np.ndarray:
        kill = killer(self) if first else lambda rows: None
        first.clear()
        return logits(self, encoded, swapped, lambda rows: (advance(rows), kill(rows))[0], stop)

    monkeypatch.setattr(Replicas, "logits", killed)
    assert predicted(small, packed, monkeypatch) == (small / "submission" / RUN / "submission.csv").read_bytes()
    said = capsys.readouterr().out
    assert said.count("process 0 FAILED: its process ended with exit code -9; its ") == 1
    assert "LEFT OUT" not in said


def test_when_no_process_is_left_the_file_of_the_stage_before_stays(
    small: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    written: list[np.ndarray] = []
    build = kernel.build
    monkeypatch.setattr(kernel, "build", lambda ids, values: (written.append(values), build(ids, values))[1])
    stand_in(monkeypatch, fails_at=0)
    found = predicted(small, packed, monkeypatch)
    # Uniform, the shares of the votes, and TF-IDF with features, once by itself and once in the cascade.
    assert len(written) == 4
    ids = pd.read_csv(small / "test.csv", dtype=str)["id"].tolist()
    assert found.decode() == to_csv(build(ids, written[-1]))
    said = capsys.readouterr().out
    assert said.count("FAILED: process") == 1
    assert "llama, model 1: LEFT OUT, as it failed: process" in said
    assert "the last one that read, failed: process" in said


@pytest.mark.parametrize("number", ["-1"])
def test_a_number_of_processes_that_cannot_be_is_refused(
    packed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["predict.py", "--replicas", number])
    with pytest.raises(SystemExit):
        kernel.main(packed)
    assert f"--replicas: {number} must be 0 or more" in capsys.readouterr().err
