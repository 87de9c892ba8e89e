"""What `make` starts for every target of a run: locks the run, resolves its params, and has a second make do the work.

The first make reads no file of the run, so that none can mislead it. The second one includes
`battles/<run>/params/run.mk`, which has just been written. Whatever ends this process, and with it the call, leaves no
process of the call, no shared memory, no half-written file and no lock behind (`stages.aftermath`).
"""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from battles.errors import BadInput
from battles.paths import RunPaths, check_run
from battles.processes import CALL, INTERRUPTIBLE, PARENTS, end_with_parent
from stages import aftermath, run_lock, step_times
from stages.common import guarded
from stages.endings import say_interrupted
from stages.variables import given, note_exported, split_count

# Seconds that the steps have to end after a signal; a second signal ends them at once.
PATIENCE = 30.0
AGAIN = 2.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# joblib's own rule of where large arrays are shared: in memory when so many bytes are free there.
_SHARED_MEMORY, _ENOUGH = Path("/dev/shm"), 2 * 10**9


def main() -> None:
    run, goals = given("RUN"), given("GOALS").split()
    check_run(run)
    for goal in goals:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", goal):
            raise BadInput(f"{goal!r} is no target; `make help` lists them")
    if split_count() > 1 and "stack" not in goals:
        raise BadInput(f"SPLITS: {given('SPLITS')} is given without its target: make stack RUN={run} SPLITS=5")
    note_exported()
    end_with_parent(os.getppid(), signal.SIGTERM)
    lock = run_lock.acquire(run, f"make {' '.join(goals)} RUN={run}")
    call, shared = uuid.uuid4().hex, _shared_folder()

    def clean_up() -> None:
        aftermath.end_processes(call)
        aftermath.remove_shared_memory(shared)
        aftermath.remove_half_written(run)
        run_lock.release(run, lock)

    finish = aftermath.watch(clean_up)
    try:
        code = _run(run, goals, {CALL: call, PARENTS: str(shared), "JOBLIB_TEMP_FOLDER": str(shared)})
        if code > 128:
            say_interrupted(str(shared))
        if code == 0:
            for line in step_times.table(shared):
                print(line, flush=True)
            if "report" in goals and RunPaths(run).page.exists():  # whether it was made just now or long ago
                print(f"open {RunPaths(run).page.resolve().as_uri()}", flush=True)
    finally:
        finish()
    sys.exit(code)


def _shared_folder() -> Path:
    """A new folder for the arrays that processes of this call share."""
    wanted = os.environ.get("JOBLIB_TEMP_FOLDER")
    if wanted is None and _SHARED_MEMORY.is_dir():
        free = os.statvfs(_SHARED_MEMORY)
        wanted = str(_SHARED_MEMORY) if free.f_bavail * free.f_frsize > _ENOUGH else None
    return aftermath.shared_folder(wanted)


def _run(run: str, goals: list[str], marks: Mapping[str, str]) -> int:
    """Resolves the params and makes the goals; returns the exit code, 128 + signal when one came."""
    flags, jobs = split_flags(os.environ.get("MAKEFLAGS", ""))
    environment = {**os.environ, **marks, "MAKEFLAGS": flags}
    watched = _Watched(environment)
    aftermath.remove_half_written(run)  # of a call that ended with the machine
    code = watched.run([sys.executable, "-m", "stages.params", "--run", run])
    return code or watched.run([given("MAKE") or "make", *jobs, *goals])


def split_flags(makeflags: str) -> tuple[str, list[str]]:
    """MAKEFLAGS without the first make's jobs, which it does not share; and `-jN` when the user gave it."""
    options, separator, variables = makeflags.partition(" -- ")
    if not separator and makeflags.startswith("-- "):
        options, separator, variables = "", " -- ", makeflags[3:]
    words = options.split()
    kept = [word for word in words if not word.startswith(("-j", "--jobserver"))]
    # On the command line it counts more than the Makefile's own, which is run.jobs.
    jobs = [word for word in words if re.fullmatch(r"-j\d*", word)][-1:]
    return " ".join(kept) + separator + variables, jobs


class _Watched:
    """Runs commands one after the other until one fails or a signal comes, which ends the running one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._came, self._when = 0, 0.0
        self._make = os.getppid()
        self._caught = _caught(self._make)
        # Who starts make in the background has it ignore Ctrl-C: then the steps do.
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            self._environment[INTERRUPTIBLE] = "1"
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._stop)

    def run(self, words: list[str]) -> int:
        """Exit code of a command, 128 + signal when this process got one."""
        if not self._came:
            self._process = subprocess.Popen(words, env=self._environment, preexec_fn=_ignore_interrupts)
            code = self._wait(self._process)
        if self._came:
            return 128 + self._came
        return code if code >= 0 else 128 - code

    def _wait(self, process: "subprocess.Popen[bytes]") -> int:
        if self._came:  # before there was a process
            process.terminate()
        while True:
            try:
                return process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                pass
            # A make that got SIGINT or SIGHUP alone waits for this process and does not hand it on.
            uncaught = self._caught - _caught(self._make)
            if uncaught and not self._came:
                self._stop(min(uncaught), None)
            if self._came and time.monotonic() - self._when > PATIENCE:
                process.kill()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self._came:
            self._came, self._when = number, now
        # The same signal may come from the terminal and from make; a later one is of somebody in a hurry.
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL if now - self._when > AGAIN else signal.SIGTERM)


def _ignore_interrupts() -> None:
    """In the child: Ctrl-C reaches this process, which ends the steps by SIGTERM, also while they still import."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _caught(process: int) -> set[int]:
    """Which of SIGNALS a process has handlers for."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return set()
    mask = re.search(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)
    return {number for number in SIGNALS if mask and int(mask[1], 16) >> (number - 1) & 1}


if __name__ == "__main__":
    guarded(main)
