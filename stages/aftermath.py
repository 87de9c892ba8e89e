"""What must be gone once a call of `make` is over, however it ended: its processes, shared memory, half-written files.

A process of its own session does it, which no signal to the call's process group reaches. It waits for the end of the
process that started it by reading from a pipe whose other end only that one holds.
"""

import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from battles.paths import RunPaths
from battles.processes import CALL

# Seconds that processes have to end after SIGTERM.
GRACE = 3.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PROCESSES = Path("/proc")
_SEMAPHORES = Path("/dev/shm")
# Where a call's processes share arrays: folders of this name, locked as long as the call or its watcher lives.
_SHARED = "arena-call-"
# Seconds that a call may take from making its folder to locking it.
_YOUNG = 60.0


def watch(clean_up: Callable[[], None]) -> Callable[[], None]:
    """Starts the process that calls `clean_up` when this one ends, even by SIGKILL; returns what ends it and waits."""
    reads, writes = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    watcher = os.fork()
    if watcher:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.close(reads)

        def finish() -> None:
            os.close(writes)
            os.waitpid(watcher, 0)

        return finish
    try:
        os.setsid()
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):  # who reads this call's output must not wait for this process
            os.dup2(null, stream)
        os.close(writes)
        os.read(reads, 1)
        clean_up()
    finally:
        os._exit(0)


def end_processes(call: str) -> None:
    """Ends every process whose environment bears a call's mark: SIGTERM, and SIGKILL to what stays."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline, told = time.monotonic() + GRACE, set[int]()
        while (living := set(_processes(call))) and time.monotonic() < deadline:
            for process in living - told:
                with suppress(ProcessLookupError):
                    os.kill(process, number)
            told |= living
            time.sleep(0.05)


def _processes(call: str) -> Iterator[int]:
    mark = f"{CALL}={call}".encode()
    for folder in _PROCESSES.glob("[0-9]*"):
        with suppress(OSError):  # has just ended, or is another user's
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)


def shared_folder(parent: str | None) -> Path:
    """A new folder for the arrays that processes of this call share, locked by this process and those it forks.

    Folders of calls of which nothing lives any more, not even the process that watches over them, are removed.
    """
    folder = Path(tempfile.mkdtemp(prefix=_SHARED, dir=parent))
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX)  # not inherited by other programs
    for other in folder.parent.glob(f"{_SHARED}*"):
        if other != folder:
            with suppress(OSError):  # its call lives, has just removed it, or is another user's
                _remove_abandoned(other)
    return folder


def _remove_abandoned(folder: Path) -> None:
    if folder.stat().st_uid != os.getuid() or time.time() - folder.stat().st_mtime < _YOUNG:
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_shared_memory(folder)
    finally:
        os.close(handle)


def remove_shared_memory(folder: Path) -> None:
    """Removes joblib's folder of a call, and the semaphores of processes that have left their number in it.

    joblib's own tracker does it when it outlives the process; it does not when a whole process group is killed.
    """
    for parent in folder.glob("[0-9]*"):
        for semaphore in _SEMAPHORES.glob(f"sem.loky-{parent.name}-*"):
            semaphore.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def remove_half_written(run: str) -> None:
    """Removes temporary files and folders, `.<name>.tmp`, of a run whose processes have ended."""
    paths = RunPaths(run)
    for room in (paths.battles, paths.features, paths.models, paths.oof, paths.submission, paths.report):
        for left_over in list(room.rglob(".*.tmp")):
            if left_over.is_dir() and not left_over.is_symlink():
                shutil.rmtree(left_over, ignore_errors=True)
            else:
                left_over.unlink(missing_ok=True)
