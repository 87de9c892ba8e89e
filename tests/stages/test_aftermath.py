"""What a call of make leaves when nothing of it lives any more is removed by the next one."""

import os
import signal
from pathlib import Path

import pytest

from stages import aftermath


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders count as old at once."""
    monkeypatch.setattr(aftermath, "_YOUNG", -1.0)


def _call(parent: Path) -> tuple[int, Path]:
    """A process that has a folder of its own and waits to be killed."""
    reads, writes = os.pipe()
    process = os.fork()
    if not process:
        os.write(writes, aftermath.shared_folder(str(parent)).name.encode())
        signal.pause()
        os._exit(0)
    return process, parent / os.read(reads, 100).decode()


def _kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


@pytest.mark.usefixtures("old")
def test_folders_of_dead_calls_are_removed_and_others_stay(tmp_path: Path) -> None:
    dead, left = _call(tmp_path)
    (left / "joblib_memmapping_folder").mkdir()
    (left / "12345").touch()
    _kill(dead)
    assert left.exists()
    others = tmp_path / "arena-callers"
    others.mkdir()
    first, of_first = _call(tmp_path)
    assert not left.exists()
    second, of_second = _call(tmp_path)
    assert of_first.exists()
    assert of_second.exists()
    assert others.exists()
    for process in (first, second):
        _kill(process)


def test_a_folder_that_was_only_just_made_stays(tmp_path: Path) -> None:
    dead, left = _call(tmp_path)
    _kill(dead)
    process, _ = _call(tmp_path)
    assert left.exists()
    _kill(process)


@pytest.mark.usefixtures("old")
def test_a_watcher_that_outlives_its_call_keeps_the_folder(tmp_path: Path) -> None:
    reads, writes = os.pipe()
    call = os.fork()
    if not call:
        folder = aftermath.shared_folder(str(tmp_path))
        watcher = os.fork()
        if watcher:
            os.write(writes, f"{watcher} {folder.name}".encode())
        signal.pause()
        os._exit(0)
    watcher_number, name = os.read(reads, 100).decode().split()
    _kill(call)
    other, _ = _call(tmp_path)
    assert (tmp_path / name).exists()
    os.kill(int(watcher_number), signal.SIGKILL)
    _kill(other)
