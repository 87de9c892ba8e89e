"""How a step ends that does not finish: a signal, or what the machine refuses; each in one line."""

import errno
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from battles.processes import INTERRUPTIBLE, PARENTS

_FIXES = {
    errno.ENOSPC: "free some space, then the same command goes on from here",
    errno.EDQUOT: "free some of your quota, then the same command goes on from here",
    errno.EFBIG: "give it a file system or a limit (ulimit -f) for larger files",
    errno.EACCES: "give yourself the right to it",
    errno.EPERM: "give yourself the right to it",
    errno.EROFS: "work in a copy of the project on a file system that can be written",
    errno.ENAMETOOLONG: "give RUN, the base or the file a shorter name",
    errno.EIO: "the disk or its connection fails: copy what is there, then look at the system's log",
    errno.EMFILE: "raise the limit of open files (ulimit -n), or set fewer processes",
    errno.ENFILE: "close some programs: the machine has too many open files",
    errno.ENOTDIR: "move away the file that stands where a folder must be",
    errno.EISDIR: "move away the folder that stands where a file must be",
}
# Libraries in other languages say in words what failed.
_WORDS = {"No space left on device": errno.ENOSPC, "os error 28": errno.ENOSPC, "Disk quota exceeded": errno.EDQUOT}
# Below so many free bytes a failed write is put down to the disk.
_FULL = 2**20
_ONCE = 2.0


class Interrupted(KeyboardInterrupt):
    """A signal that ends the step as Ctrl-C does; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Interrupt:
    """A handler that raises Interrupted, once for the same signal from several senders within two seconds."""

    def __init__(self) -> None:
        self._last = -_ONCE

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._last >= _ONCE:
            self._last = now
            raise Interrupted(number)


def raise_on_signals() -> None:
    """Has SIGINT, SIGTERM and SIGHUP raise Interrupted in the main thread, unless the caller has them ignored."""
    interrupt = _Interrupt()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # `stages.start` has what it starts ignore SIGINT for as long as modules are imported.
        meant = number == signal.SIGINT and INTERRUPTIBLE in os.environ
        if meant or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def say_interrupted(folder: str | None = None) -> None:
    """Says once for a call of make, whichever of its processes gets there first, how to go on."""
    folder = folder or os.environ.get(PARENTS)
    if folder:
        try:
            Path(folder, "interrupted").touch(exist_ok=False)
        except FileExistsError:
            return
        except OSError:  # a full disk: better said twice than not at all
            pass
    print("interrupted; the same command goes on from here", file=sys.stderr)


def refusal(error: Exception) -> str | None:
    """What the machine refused, as one line with the file and what to do; None for an error that is none of these.

    A file that the error does not name is that of the note which `battles.files.atomic` adds.
    """
    notes = getattr(error, "__notes__", ())
    named = next((note.removeprefix("writing ") for note in notes if note.startswith("writing ")), None)
    if isinstance(error, OSError) and error.filename is not None:
        named = named or os.fsdecode(error.filename)
    number = _number(error, named)
    if number is None:
        return None
    reason = os.strerror(number)
    return f"{named}: {reason}; {_FIXES[number]}" if named else f"{reason}; {_FIXES[number]}"


def _number(error: Exception, named: str | None) -> int | None:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FIXES:
            return cause.errno
        for words, number in _WORDS.items():
            if words in str(cause):
                return number
        cause = cause.__cause__ or cause.__context__
    if named is not None and Path(named).parent.is_dir() and shutil.disk_usage(Path(named).parent).free < _FULL:
        return errno.ENOSPC
    return None
