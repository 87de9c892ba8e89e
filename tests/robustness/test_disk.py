"""On a file system that fills up a step says so in one line, leaves what was there, and goes on once there is room."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.project import Project, copy_project
from tests.robustness.kills import half_written, results

WHOLE = bool(os.environ.get("TORTURE"))
SMALL = "sample.train=100 sample.test=10 prepare.folds=3 stack.trials=1 stack.rounds=5"
OVERRIDES = f"SET={SMALL} run.bases=[tfidf]"
STEPS = ("prepare", "features", "oof", "stack", "submission", "report")


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


@pytest.mark.skipif(not WHOLE, reason="takes long: make torture")
def test_a_disk_of_any_size_loses_nothing(disk: Path) -> None:
    project = copy_project(disk / "clone")
    project.made("submission", "RUN=whole", OVERRIDES)
    project.made("report", "RUN=whole", OVERRIDES)
    expected = results(project, "whole")
    empty = _free(disk)
    project.made("clean", "RUN=whole")
    needed = _free(disk) - empty
    refused = 0
    for leave in np.random.default_rng(2).uniform(0.01, 1.0, 20) * needed:
        ballast = _fill(disk, int(leave))
        good: dict[str, bytes] = {}
        for step in STEPS:
            said = project.make(step, "RUN=r", OVERRIDES)
            if said.returncode:
                _one_line(said)
                refused += 1
                break
            good = _contents(project)
        now = _contents(project)
        assert {name: now[name] for name in good} == good, f"{leave:.0f} bytes"
        assert not half_written(project)
        ballast.unlink()
        project.made("submission", "RUN=r", OVERRIDES)
        assert results(project, "r") == expected
        project.made("clean", "RUN=r")
        print(f"disks: {refused} too small, nothing lost ({leave / 1024:.0f} KiB)", flush=True)
    assert refused >= 10
