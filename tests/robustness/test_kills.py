"""A run that is killed again and again ends in the bits of one that was never disturbed, and leaves nothing behind."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.project import Project, copy_project
from tests.robustness.kills import (
    SIGNALS,
    VICTIMS,
    Kill,
    calls,
    finished_folds,
    half_written,
    left_behind,
    processes,
    results,
)

# `make torture` sets the number of kills.
KILLS = int(os.environ.get("TORTURE", "0"))
ON_ONE_RUN = 5
SMALL = "sample.train=100 sample.test=10 prepare.folds=3 stack.trials=1 stack.rounds=5"
QUICK = f"SET={SMALL} run.bases=[tfidf]"
# With a language model: its folds go on from checkpoints.
WHOLE = (
    f"SET={SMALL} run.bases=[tfidf,roberta] tiny.backbones.roberta.steps=3 roberta.epochs=1 "
    "roberta.checkpoint_minutes=0.001 stack.workers=2"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return copy_project(tmp_path_factory.mktemp("project") / "clone")


def _undisturbed(project: Project, overrides: str) -> tuple[dict[str, bytes], float]:
    """What a run ends in that nothing disturbs, and the seconds of CPU time it takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    project.made("submission", "RUN=undisturbed", overrides)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return results(project, "undisturbed"), seconds


def _survives(project: Project, overrides: str, kills: list[Kill], expected: dict[str, bytes], run: str) -> int:
    """Kills one run after the other, lets it end and compares; returns how many kills hit something."""
    hits = 0
    words = ("submission", f"RUN={run}", overrides)
    for kill in kills:
        before = finished_folds(project, run)
        code = calls(project, words, kill, project.folder.parent / "scratch")
        assert not left_behind(project, kill, project.folder.parent / "scratch"), str(kill)
        if code is not None:
            hits += 1
            print(f"killed: {kill}", flush=True)
            if kill.victim != "step":
                assert code == -kill.signal, str(kill)
        after = finished_folds(project, run)
        assert {name: after.get(name) for name in before} == before, f"{kill}: a finished fold was done again"
    before = finished_folds(project, run)
    project.made(*words)
    after = finished_folds(project, run)
    assert {name: after.get(name) for name in before} == before, "a finished fold was done again"
    assert results(project, run) == expected, "; ".join(map(str, kills))
    assert not half_written(project)
    return hits


def test_a_run_killed_three_times_ends_in_the_same_bits(project: Project) -> None:
    expected, seconds = _undisturbed(project, QUICK)
    draw = np.random.default_rng(10)
    # Each call goes on where the one before was killed: the last third of the work is the stacker's.
    moments = seconds * np.array([0.25, 0.2, 0.35]) * draw.uniform(0.8, 1.2, 3)
    kills = [
        Kill(float(moments[0]), signal.SIGTERM, "group"),
        Kill(float(moments[1]), signal.SIGKILL, "group"),
        Kill(float(moments[2]), signal.SIGINT, "make"),
    ]
    hits = _survives(project, QUICK, kills, expected, "killed")
    assert hits >= 2
    print(f"kills: {hits}, survived: {hits}")


@pytest.mark.skipif(not KILLS, reason="takes hours: make torture")
def test_many_kills_over_all_steps(project: Project) -> None:
    expected, seconds = _undisturbed(project, WHOLE)
    draw = np.random.default_rng(1)
    struck = 0
    ways = [(number, victim) for number in SIGNALS for victim in VICTIMS]
    kills = [
        # Each call goes on where the one before was killed, so that the moments spread over all steps.
        Kill(float(seconds * draw.uniform(0.02, 0.6)), *ways[way])
        for way in draw.permutation(KILLS) % len(ways)
    ]
    for first in range(0, KILLS, ON_ONE_RUN):
        run = f"killed-{first}"
        struck += _survives(project, WHOLE, kills[first : first + ON_ONE_RUN], expected, run)
        project.made("clean", f"RUN={run}")
        print(f"kills: {struck}, survived: {struck}, lost: nothing, left behind: nothing", flush=True)
    assert struck >= KILLS / 2


WORKERS = """
import os, sys, time
from battles.processes import parallel
from stages.common import guarded
from joblib import delayed
import numpy as np

def wait(array, number):
    print(os.getpid(), flush=True)
    time.sleep(300)

def main():
    shared = np.zeros(1_000_000)  # large enough to be shared by memory
    parallel(2)(delayed(wait)(shared, number) for number in range(2))

guarded(main)
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_workers_end_with_the_step_that_started_them(tmp_path: Path, number: signal.Signals) -> None:
    """Without make around it: what the step's own handlers and the kernel see to."""
    script = tmp_path / "step.py"
    script.write_text(WORKERS)
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "JOBLIB_TEMP_FOLDER": str(tmp_path)}
    words = [sys.executable, str(script)]
    step = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert step.stdout is not None
    assert step.stderr is not None
    workers = [psutil.Process(int(step.stdout.readline())) for _ in range(2)]
    step.send_signal(number)
    gone, alive = psutil.wait_procs(workers, timeout=5)
    assert len(gone) == 2, alive
    assert step.wait() == (-number if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert step.stderr.read() == "interrupted; the same command goes on from here\n"
    assert not list(Path("/dev/shm").glob(f"sem.loky-{step.pid}-*"))
    assert not list(tmp_path.glob("joblib*"))


def test_a_second_call_on_the_same_run_is_refused_and_another_runs_is_not(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "clone")
    lock = project.folder / "battles/mine/.lock"
    first = project.start("stack", "RUN=mine", QUICK)
    while not (lock.exists() and lock.read_text().endswith(")\n")):
        assert first.poll() is None
    for goal in ("submission", "clean"):
        said = project.make(goal, "RUN=mine", QUICK)
        assert said.returncode == 2
        holder = int(lock.read_text().split()[0])
        assert f"RUN: mine is in use by make stack RUN=mine (process {holder}); wait until" in said.stderr
        assert "Traceback" not in said.stderr
    project.made("prepare", "RUN=other", f"SET={SMALL}")
    assert psutil.pid_exists(holder)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    # What the killed call left is waited for, not refused.
    project.made("prepare", "RUN=mine", QUICK)
    assert not processes(project)
    assert not lock.exists()


def test_a_broken_fragment_is_written_anew_and_never_read(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "clone")
    project.made("prepare", "RUN=mine", QUICK)
    fragment = project.folder / "battles/mine/params/run.mk"
    good = fragment.read_text()
    for broken in ("$(shell touch canary)\nJOBS := 100000\n", good[:-20]):
        fragment.write_text(broken)
        assert "mine is up to date" in project.made("prepare", "RUN=mine", QUICK)
        assert fragment.read_text() == good
    assert not (project.folder / "canary").exists()


def test_an_interrupt_says_how_to_go_on_without_a_traceback(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "clone")
    for number in (signal.SIGINT, signal.SIGTERM):
        process = project.start("stack", "RUN=mine", QUICK)
        params = project.folder / "battles/mine/params/run.json"
        while not params.exists():
            assert process.poll() is None
        os.killpg(process.pid, number)
        _, said = process.communicate()
        assert process.returncode == -number  # 128 + number in a shell
        assert said.count("interrupted; the same command goes on from here") == 1
        assert "Traceback" not in said
        assert json.loads(params.read_text())["bases"] == ["tfidf"]
        project.made("clean", "RUN=mine")
