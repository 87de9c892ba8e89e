"""Removes everything that a run wrote, and nothing else: `make clean RUN=name`."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from battles.errors import BadInput
from battles.paths import RunPaths, check_run
from stages import run_lock
from stages.common import guarded
from stages.variables import given, note_exported


def main() -> None:
    run = given("RUN")
    check_run(run)
    note_exported()
    if not any(folder.is_dir() for folder in _folders(run)):
        raise BadInput(f"RUN: there is no run {run!r}; there are {', '.join(_runs()) or 'none'}")
    with run_lock.alone(run, f"make clean RUN={run}"):
        lock = run_lock.lock_path(run)
        for folder in _folders(run):
            for path in list(folder.glob("*")) if folder == lock.parent else [folder]:
                if path != lock:
                    _remove(path)


def _folders(run: str) -> list[Path]:
    paths = RunPaths(run)
    return [paths.features, paths.models, paths.oof, paths.submission, paths.report, paths.battles]


def _runs() -> Iterator[str]:
    """Names of the runs that there are: every run has folders of these two kinds before any other."""
    yield from sorted(
        {path.name for room in (Path("battles"), Path("models/runs")) for path in room.glob("*") if _is_run(path)}
    )


def _is_run(path: Path) -> bool:
    return path.is_dir() and path.name[0] not in "._"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    guarded(main)
