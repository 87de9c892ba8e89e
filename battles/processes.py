"""Worker processes that end with the process that started them."""

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from joblib import Parallel

# Names in the environment of whatever one call of `make` started (`stages.start` sets them): the call's own mark; a
# folder in which a process that is about to start workers leaves its number; whether Ctrl-C is meant for the call.
CALL = "ARENA_CALL"
PARENTS = "ARENA_PARENTS"
INTERRUPTIBLE = "ARENA_INTERRUPTIBLE"
_PR_SET_PDEATHSIG = 1
# joblib's tracker of semaphores is a process that takes these options over. Where an interrupt ends the workers, it may
# hear late that a semaphore is gone, and warns of a leak that is none.
_NO_FALSE_ALARM = "ignore:resource_tracker"


def end_with_parent(parent: int, number: signal.Signals) -> None:
    """Has the kernel send this process a signal when process `parent`, its parent, ends; does nothing outside Linux.

    Ends this process when the parent is gone already.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(128 + number)


def parallel(jobs: int, **options: Any) -> "Parallel":
    """`joblib.Parallel` of `jobs` processes which neither survive this one nor hear of Ctrl-C themselves."""
    from joblib import Parallel

    if folder := os.environ.get(PARENTS):
        Path(folder, str(os.getpid())).touch()
    if _NO_FALSE_ALARM not in sys.warnoptions:
        sys.warnoptions.append(_NO_FALSE_ALARM)
    return Parallel(n_jobs=jobs, initializer=_start_worker, initargs=(os.getpid(),), **options)


def _start_worker(parent: int) -> None:
    # The parent is told and ends its workers; a traceback of each of them would hide what it says.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(parent, signal.SIGKILL)
