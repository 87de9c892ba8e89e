"""One call of `make` at a time works on a run: a lock on `battles/<run>/.lock`, which ends with its holder."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from battles.errors import BadInput
from battles.paths import RunPaths

# Seconds that what a killed call has left behind may take to end.
PATIENCE = 15.0


def lock_path(run: str) -> Path:
    """The file whose lock a call holds."""
    return RunPaths(run).battles / ".lock"


def acquire(run: str, command: str) -> int:
    """The open, locked file of a run; others are told of `command` and of this process.

    Raises BadInput when another process holds the lock. A dead holder's lock is free as soon as what it had started
    has ended.
    """
    path = lock_path(run)
    deadline = time.monotonic() + PATIENCE
    while True:
        handle = _open(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder, said = _holder(handle)
            os.close(handle)
            if _lives(holder) or time.monotonic() > deadline:
                raise BadInput(
                    f"RUN: {run} is in use by {said or 'another call of make'}; wait until it has ended, "
                    "or choose another RUN"
                ) from None
            time.sleep(0.1)
            continue
        if _is_at(path, handle):
            os.truncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n{command} (process {os.getpid()})\n".encode())
            return handle
        os.close(handle)  # its last holder has just removed it


def release(run: str, handle: int) -> None:
    """Removes the file and the run's folder when nothing else is in it, and unlocks."""
    path = lock_path(run)
    path.unlink(missing_ok=True)
    with suppress(OSError):
        path.parent.rmdir()
    os.close(handle)


@contextmanager
def alone(run: str, command: str) -> Iterator[None]:
    """Holds a run's lock."""
    handle = acquire(run, command)
    try:
        yield
    finally:
        release(run, handle)


def _open(path: Path) -> int:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # the folder was removed in between
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _holder(handle: int) -> tuple[int, str]:
    """Number of the holding process, 0 when it has not said it yet, and what it said of itself."""
    number, _, said = os.pread(handle, 1000, 0).decode(errors="replace").partition("\n")
    return (int(number) if number.isdecimal() else 0), said.strip()


def _lives(process: int) -> bool:
    if not process:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
