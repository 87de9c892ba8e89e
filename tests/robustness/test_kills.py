"""A run that is killed again and again ends in the bits of one that was never disturbed, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from stages import sample, tiny
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
from tests.robustness.kills import STEPS as STEPS_OF_MAKE
from tests.robustness.stages_in_process import RUN, STEPS, call, resolve

# `make torture` sets the number of kills.
KILLS = int(os.environ.get("TORTURE", "0"))
QUICK = (
    "sample.train=60 sample.test=10 prepare.folds=3 stack.trials=1 "
    "stack.rounds=2 stack.bag=1 stack.trees=10 stack.workers=1 "
    "tfidf.bits=10 run.bases=[tfidf]"
)
# With a language model, whose folds go on from checkpoints, and worker processes of the stacker.
WHOLE = (
    "sample.train=60 sample.test=10 prepare.folds=3 stack.trials=1 "
    "stack.rounds=2 stack.bag=1 stack.trees=10 stack.workers=2 "
    "tfidf.bits=10 run.bases=[tfidf,roberta] tiny.backbones.roberta.steps=3 roberta.epochs=3 "
    "roberta.checkpoint_minutes=0.001"
)
# Most seconds of CPU time that a step of these runs takes on a fast machine, the start of Python among them.
LONGEST = {"base": 8.0, "tiny": 6.0, "stack": 4.0}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return copy_project(tmp_path_factory.mktemp("project") / "clone")


def _undisturbed(folder: Path, overrides: str, bases: tuple[str, ...]) -> dict[str, bytes]:
    """What a run ends in that nothing disturbs: its steps one after the other, in this process."""
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        outcomes = [resolve("--overrides", overrides), call(sample.main)]
        for name, (main, more) in STEPS.items():
            if name == "base":
                outcomes += [call(tiny.main, "--name", base) for base in bases if base != "tfidf"]
            of = bases if name in ("base", "predict") else ("",)
            outcomes += [call(main, *(more if not base else ("--name", base))) for base in of if name != "report"]
        assert all(outcome.code == 0 for outcome in outcomes), outcomes
    return results(Project(folder), RUN)


def _survives(project: Project, overrides: str, kills: list[Kill], expected: dict[str, bytes]) -> int:
    """Kills one call after the other, lets the run end and compares; returns how many kills hit something."""
    hits = 0
    words = ("submission", f"RUN={RUN}", f"SET={overrides}")
    scratch = project.folder.parent / "scratch"
    for kill in kills:
        before = finished_folds(project, RUN)
        code = calls(project, words, kill, scratch)
        assert not left_behind(project, kill, scratch), str(kill)
        if code is not None:
            hits += 1
            print(f"killed: {kill}", flush=True)
            if kill.victim != "step":
                assert code == -kill.signal, str(kill)
        after = finished_folds(project, RUN)
        assert {name: after.get(name) for name in before} == before, f"{kill}: a finished fold was done again"
    before = finished_folds(project, RUN)
    project.made(*words)
    after = finished_folds(project, RUN)
    assert {name: after.get(name) for name in before} == before, "a finished fold was done again"
    assert results(project, RUN) == expected, "; ".join(map(str, kills))
    assert not half_written(project)
    return hits


def test_a_run_killed_three_times_ends_in_the_same_bits(project: Project, tmp_path: Path) -> None:
    expected = _undisturbed(tmp_path / "undisturbed", QUICK, ("tfidf",))
    kills = [
        Kill("base", 0, signal.SIGTERM, "group", "models/runs/r/tfidf/fold-0/fold.json"),
        Kill("stack", 0, signal.SIGKILL, "group", "models/runs/r/stack/*"),
        Kill("predict_stack", 0, signal.SIGINT, "make", "oof/r/stack.test.parquet"),
    ]
    hits = _survives(project, QUICK, kills, expected)
    assert hits >= 2
    project.made("clean", f"RUN={RUN}")
    print(f"kills: {hits}, survived: {hits}, bytes lost: 0")


@pytest.mark.skipif(not KILLS, reason="takes long: make torture")
def test_many_kills_over_all_steps(project: Project, tmp_path: Path) -> None:
    """Every run is killed once in each of its steps, at a seeded moment, and goes on from there."""
    expected = _undisturbed(tmp_path / "undisturbed", WHOLE, ("tfidf", "roberta"))
    draw = np.random.default_rng(1)
    struck = 0
    ways = [(number, victim) for number in SIGNALS for victim in VICTIMS]
    kills = []
    for number, way in enumerate(draw.permutation(KILLS) % len(ways)):
        step = STEPS_OF_MAKE[number % len(STEPS_OF_MAKE)]
        kills.append(Kill(step, float(draw.uniform(0, LONGEST.get(step, 2.0))), *ways[way]))
    for first in range(0, KILLS, len(STEPS_OF_MAKE)):
        struck += _survives(project, WHOLE, kills[first : first + len(STEPS_OF_MAKE)], expected)
        project.made("clean", f"RUN={RUN}")
        print(f"kills: {struck}, survived: {struck}, bytes lost: 0", flush=True)
    assert struck >= 0.8 * KILLS


@pytest.mark.skipif(not KILLS, reason="takes long: make torture")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_language_model_has_saved_where_it_stands(tmp_path: Path, number: signal.Signals) -> None:
    project = copy_project(tmp_path / "clone")
    words = ("oof-roberta", "RUN=r", f"SET={WHOLE} roberta.checkpoint_minutes=1000 roberta.epochs=900")
    process = project.start(*words)
    resume = project.folder / "models/runs/r/roberta/fold-0/resume"
    while not resume.exists():
        assert process.poll() is None
    trains = next(one for one in processes(project) if "stages.base" in one.cmdline())
    before = sum(trains.cpu_times()[:2])
    while sum(trains.cpu_times()[:2]) < before + 6:
        assert process.poll() is None
    os.killpg(process.pid, number)
    _, said = process.communicate()
    assert process.returncode == -number
    assert said.count("interrupted; the same command goes on from here") == 1
    assert len(torch.load(resume / "checkpoint.pt")["curve"]) > 0


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
    first = project.start("stack", "RUN=mine", f"SET={QUICK}")
    while not (lock.exists() and lock.read_text().endswith(")\n")):
        assert first.poll() is None
    for goal in ("submission", "clean"):
        said = project.make(goal, "RUN=mine", f"SET={QUICK}")
        assert said.returncode == 2
        holder = int(lock.read_text().split()[0])
        assert f"RUN: mine is in use by make stack RUN=mine (process {holder}); wait until" in said.stderr
        assert "Traceback" not in said.stderr
    project.made("prepare", "RUN=other", f"SET={QUICK}")
    assert psutil.pid_exists(holder)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    # What the killed call left is waited for, not refused.
    project.made("prepare", "RUN=mine", f"SET={QUICK}")
    assert not processes(project)
    assert not lock.exists()


def test_a_broken_fragment_is_written_anew_and_never_read(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "clone")
    project.made("prepare", "RUN=mine", f"SET={QUICK}")
    fragment = project.folder / "battles/mine/params/run.mk"
    good = fragment.read_text()
    for broken in ("$(shell touch canary)\nJOBS := 100000\n", good[:-20]):
        fragment.write_text(broken)
        assert "mine is up to date" in project.made("prepare", "RUN=mine", f"SET={QUICK}")
        assert fragment.read_text() == good
    assert not (project.folder / "canary").exists()


def test_an_interrupt_says_how_to_go_on_without_a_traceback(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "clone")
    for number in (signal.SIGINT, signal.SIGTERM):
        process = project.start("stack", "RUN=mine", f"SET={QUICK}")
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
