"""A copy of the project in a folder of its own, where `make` runs with this interpreter."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("battles", "features", "models", "oof", "submission", "report", "stages")


@dataclass(frozen=True)
class Project:
    """The copy's folder; `make` is called as a user calls it."""

    folder: Path

    def make(self, *words: str, **exported: str) -> subprocess.CompletedProcess[str]:
        """Runs make, with some more variables exported; output and errors are captured as text."""
        return subprocess.run(
            ["make", *words], cwd=self.folder, capture_output=True, text=True, env=_environment(exported), check=False
        )

    def start(self, *words: str, **exported: str) -> "subprocess.Popen[str]":
        """Starts make in a process group of its own, and does not wait for it; errors can be read as text."""
        return subprocess.Popen(
            ["make", *words],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(exported),
            process_group=0,
            preexec_fn=_hear_interrupts,
        )

    def made(self, *words: str) -> str:
        """The output of a call of make that must succeed."""
        result = self.make(*words)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def refused(self, *words: str) -> str:
        """What a call of make that must fail says, without make's own lines; it must have written nothing."""
        before = self.times()
        result = self.make(*words)
        assert result.returncode == 2, result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        assert self.times() == before
        return "\n".join(line for line in result.stderr.splitlines() if not line.startswith("make"))

    def times(self) -> dict[str, int]:
        """Modification times of every file that steps write, by path."""
        files = (path for room in ROOMS for path in (self.folder / room).rglob("*") if path.is_file())
        return {
            path.relative_to(self.folder).as_posix(): path.stat().st_mtime_ns
            for path in files
            if path.suffix not in (".py", ".pyc")
        }


def _hear_interrupts() -> None:
    """In the child: a shell that starts the tests in the background has them, and what they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _environment(exported: Mapping[str, str]) -> dict[str, str]:
    """The environment without what a make around this test has set: its flags, its jobs, its own variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "ARENA_"))}
    return {**kept, **exported}


def _sources(room: Path) -> Iterator[Path]:
    """The code of a room, and the templates beside it; its sub-folders may hold the output of runs."""
    yield from room.rglob("*.py")
    for kind in ("jinja", "css", "js"):
        yield from room.glob(f"*.{kind}")


def copy_project(folder: Path) -> Project:
    """Copies sources, Makefile and params; `.venv` is a stand-in that starts this interpreter."""
    for room in ROOMS:
        for source in _sources(ROOT / room):
            target = folder / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    for name in ("LICENSE", "Makefile", "params.yaml", "requirements.txt"):
        shutil.copy2(ROOT / name, folder)
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (folder / ".venv" / "installed").touch()
    return Project(folder)
