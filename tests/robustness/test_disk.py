"""On a file system that fills up a step says so in one line, leaves what was there, and goes on once there is room."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from battles.sample import generate
from battles.settings import Sample
from tests.project import Project, copy_project
from tests.robustness.kills import half_written, results
from tests.robustness.stages_in_process import RUN, STEPS, call, check_refusal, resolve, snapshot

SIZES = 20 if os.environ.get("TORTURE") else 3
SETTINGS = "prepare.folds=3 stack.trials=1 stack.rounds=2 stack.bag=1 stack.trees=10 stack.workers=1 tfidf.bits=10"
SMALL = "sample.train=100 sample.test=10 prepare.folds=3 stack.trials=1 stack.rounds=5"
OVERRIDES = f"SET={SMALL} run.bases=[tfidf]"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 64 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _free(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def _fill(disk: Path, leave: int) -> Path:
    """Fills the disk up to `leave` bytes."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(_free(disk) - leave, 1))
    return ballast


def _contents(project: Project) -> dict[str, bytes]:
    return {name: (project.folder / name).read_bytes() for name in project.times()}


def _one_line(said: subprocess.CompletedProcess[str]) -> None:
    assert said.returncode == 2
    assert "Traceback" not in said.stderr
    errors = [line for line in said.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, said.stderr
    assert "No space left on device; free some space" in errors[0]


def test_a_full_disk_is_said_and_what_was_there_stays(disk: Path) -> None:
    project = copy_project(disk / "clone")
    project.made("prepare", "RUN=r", OVERRIDES)
    before = _contents(project)
    ballast = _fill(disk, 8192)
    said = project.make("features", "RUN=r", OVERRIDES)
    _one_line(said)
    assert "features/r" in said.stderr
    assert {name: _contents(project)[name] for name in before} == before
    assert not half_written(project)
    ballast.unlink()
    project.made("features", "RUN=r", OVERRIDES)


def test_a_disk_of_any_size_loses_nothing(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps of a run on a disk with less and less room: what is there stays, and there it goes on."""
    work = disk / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    data = generate(Sample(train=60, test=10, seed=1))
    data.train.to_csv("train.csv", index=False)
    data.test.to_csv("test.csv", index=False)
    params = partial(resolve, "--profile", "cpu", "--train", "train.csv", "--test", "test.csv", "--overrides", SETTINGS)
    steps = {"params": params, **{name: partial(call, main, *more) for name, (main, more) in STEPS.items()}}
    inputs, before = snapshot(work), _free(disk)
    assert [step().code for step in steps.values()] == [0] * len(steps)
    expected, needed = results(Project(work), RUN), before - _free(disk)
    refused = []
    for leave in np.random.default_rng(2).uniform(0.0, 1.0, SIZES) * needed:
        _clear(work, inputs)
        ballast = _fill(disk, int(leave))
        for name, step in steps.items():
            good, outcome = snapshot(work), step()
            if outcome.code:
                check_refusal(outcome, "No space left on device; free some space")
                now = snapshot(work)
                assert {path: now[path] for path in good} == good, f"{name} on {leave:.0f} bytes"
                assert not [path for path in now if path.endswith(".tmp")]
                refused.append(name)
                ballast.unlink()
                assert step().code == 0
        ballast.unlink(missing_ok=True)
        assert results(Project(work), RUN) == expected
    print(f"disks: {SIZES}, too small: {len(refused)} (in {', '.join(sorted(set(refused)))}), bytes lost: 0")
    assert len(refused) >= SIZES / 2


def _clear(work: Path, inputs: dict[str, bytes]) -> None:
    """Removes all but the input files and params.yaml."""
    for room in (path for path in work.iterdir() if path.is_dir()):
        shutil.rmtree(room)
    assert inputs.keys() <= {path.name for path in work.iterdir()}
