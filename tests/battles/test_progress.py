"""Progress counts what is done, in this process and in others, and never draws two bars on one terminal."""

import sys
from pathlib import Path

import pytest
from joblib import Parallel, delayed

from battles import progress
from battles.processes import PARENTS
from battles.progress import Counter, Progress, counted


class _Terminal:
    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


def test_a_log_gets_lines_with_the_share_done_and_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([0.0, 30.0, 30.0, 50.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    with Progress("work", 10) as work:
        work.advance(2, "loss 1.0")
    assert capsys.readouterr().out.splitlines() == [
        "work: 20 %, about 120 s left, loss 1.0",
        "work: done in 50.0 s, loss 1.0",
    ]


def test_of_weights_short_work_leaves_no_line_and_the_bar_shows_the_share_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for took, lines in ((4.9, []), (5.1, ["work: done in 5.1 s"])):
        with monkeypatch.context() as patch:
            seconds = iter([0.0, took, took])
            patch.setattr(progress.time, "monotonic", lambda times=seconds: next(times))
            with Progress("work", 10, weights=True) as work:
                work.advance(10)
        assert capsys.readouterr().out.splitlines() == lines
    monkeypatch.setattr(sys, "stderr", _Terminal())
    with Progress("work", 40_000_000, weights=True) as work:
        work.advance(10_000_000)
        assert work._bar is not None
        assert "25%" in str(work._bar)
        assert "40000000" not in str(work._bar)


def test_of_two_at_once_on_a_terminal_one_has_the_bar(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(PARENTS, str(tmp_path))
    monkeypatch.setattr(sys, "stderr", _Terminal())
    with Progress("one", 2) as one:
        with Progress("two", 2) as two:
            assert (one._bar is None, two._bar is None) == (False, True)
        with Progress("three", 2) as three:
            assert three._bar is None
    with Progress("four", 2) as four:
        assert four._bar is not None


def _work(counter: Counter) -> None:
    counter.add(1)
    counter.add(2)


def test_what_processes_count_is_shown_and_leaves_no_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "deep" / "count"
    with counted("fits", 12, path) as counter:
        Parallel(n_jobs=2)(delayed(_work)(counter) for _ in range(4))
        assert counter.value() == 12
    assert not path.exists()
    assert capsys.readouterr().out.startswith("fits: done in ")
