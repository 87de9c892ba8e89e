"""Kills a `make submission` at a chosen moment, and looks for what it leaves behind."""

import os
import re
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from battles.files import read_table
from tests.project import ROOMS, Project

# What is killed: the make that the user started, its process group, or one of the processes that compute.
VICTIMS = ("make", "group", "step")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# Seconds after which nothing of a killed call may be left, and those after which a call is given up.
GONE, STUCK = 5.0, 900.0


# The steps of a run in the order in which make starts them; of two at once the later one counts.
STEPS = (
    "params",
    "sample",
    "prepare --test",
    "prepare",
    "tiny",
    "features",
    "features --test",
    "base",
    "predict",
    "stack",
    "predict_stack",
    "submit",
    "verify",
)


@dataclass
class Kill:
    """One kill: in which step, after how many seconds of its CPU time, which signal, to whom.

    With `file`, a pattern in the project's folder, the moment is when such a file is there. A step that ends before
    its moment hands the kill on to the next one.
    """

    step: str
    after: float
    signal: signal.Signals
    victim: str
    file: str | None = None
    seen: set[int] = field(default_factory=set)

    def __str__(self) -> str:
        moment = f"when {self.file} is there" if self.file else f"after {self.after:.1f} s of its CPU time"
        return f"{self.signal.name} to {self.victim} in {self.step}, {moment}"

    def is_due(self, family: list[psutil.Process], project: Project) -> bool:
        running = {number: one for one in family if (number := _step(one)) is not None}
        # Ctrl-C is ignored by a step that still imports, as it is meant for all of the call.
        if self.victim == "step" and self.signal == signal.SIGINT:
            running = {number: one for number, one in running.items() if _catches(one, self.signal)}
        latest, wanted = max(running, default=-1), STEPS.index(self.step)
        if self.file:
            return latest >= wanted and any(project.folder.glob(self.file))
        return latest > wanted or (latest == wanted and _cpu(running[latest]) >= self.after)


def calls(project: Project, words: tuple[str, ...], kill: Kill, scratch: Path) -> int | None:
    """Starts make and kills; returns its exit code, None when it ended as if nothing had been.

    `scratch` is where the call's processes share arrays.
    """
    scratch.mkdir(exist_ok=True)
    process = project.start(*words, JOBLIB_TEMP_FOLDER=str(scratch))
    make = psutil.Process(process.pid)
    until = time.monotonic() + STUCK
    while process.poll() is None and time.monotonic() < until:
        family = _family(make)
        kill.seen |= {one.pid for one in family}
        if kill.is_due(family, project):
            _strike(make, family, kill)
            break
        time.sleep(0.02)
    else:
        process.communicate()
        return None
    process.communicate()
    return process.returncode or None


def _family(make: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return [make, *make.children(recursive=True)]
    return [make]


def _cpu(process: psutil.Process) -> float:
    """Seconds of a process and of those of its children that have ended."""
    with suppress(psutil.Error):
        return float(sum(process.cpu_times()[:4]))
    return 0.0


def _strike(make: psutil.Process, family: list[psutil.Process], kill: Kill) -> None:
    if kill.victim == "group":
        os.killpg(make.pid, kill.signal)
        return
    steps = {number: one for one in family if (number := _step(one)) is not None}
    with suppress(psutil.NoSuchProcess):
        (steps[max(steps)] if kill.victim == "step" and steps else make).send_signal(kill.signal)


def _catches(process: psutil.Process, number: signal.Signals) -> bool:
    with suppress(OSError):
        caught = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
        return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)
    return False


def _step(process: psutil.Process) -> int | None:
    """Which of STEPS a process is."""
    with suppress(psutil.Error):
        words = process.cmdline()
        modules = [word.removeprefix("stages.") for word in words if word.startswith("stages.")]
        name = " ".join([*modules[:1], *(word for word in words if word == "--test")])
        return STEPS.index(name) if name in STEPS else None
    return None


def left_behind(project: Project, kill: Kill, scratch: Path) -> list[str]:
    """Processes, shared memory and temporary files of a killed call, once it has had five seconds."""
    until = time.monotonic() + GONE
    while (found := _left(project, kill, scratch)) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def _left(project: Project, kill: Kill, scratch: Path) -> list[str]:
    found = [f"process {one.pid}: {' '.join(one.info['cmdline'] or [])}" for one in processes(project)]
    found += [str(path) for path in scratch.iterdir()]
    for process in kill.seen:
        found += [str(path) for path in Path("/dev/shm").glob(f"*loky-{process}-*")]
    return found + half_written(project)


def processes(project: Project) -> list[psutil.Process]:
    """What runs in the project's folder."""
    return [one for one in psutil.process_iter(["cwd", "cmdline"]) if one.info["cwd"] == str(project.folder)]


def half_written(project: Project) -> list[str]:
    """Temporary files and locks in a project's rooms."""
    files = [path for room in ROOMS for path in (project.folder / room).rglob(".*")]
    return [str(path) for path in files if path.name.endswith((".tmp", ".lock"))]


def finished_folds(project: Project, run: str) -> dict[str, int]:
    """When each finished fold of a run was finished."""
    found = (project.folder / "models/runs" / run).rglob("fold.json")
    return {str(path.relative_to(project.folder)): path.stat().st_mtime_ns for path in found}


def results(project: Project, run: str) -> dict[str, bytes]:
    """The submission's bytes and the values of every prediction table of a run."""
    found = {"submission": (project.folder / "submission" / run / "submission.csv").read_bytes()}
    for path in sorted((project.folder / "oof" / run).glob("*.parquet")):
        table = read_table(path)
        values = table.select_dtypes("number").to_numpy(dtype=np.float64)
        found[path.name] = repr((list(table.columns), table["id"].tolist())).encode() + values.tobytes()
    return found
