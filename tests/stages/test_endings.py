import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from battles.files import atomic, write_text
from stages.common import guarded
from stages.endings import refusal

SCRIPT = """
import os, signal, sys
from stages.common import guarded

def main():
    {body}

guarded(main)
"""


def _step(body: str, **options: object) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-c", SCRIPT.format(body=body)]
    return subprocess.run(words, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, "No space left on device; free some space"),
        (errno.EACCES, "Permission denied; give yourself the right to it"),
        (errno.EROFS, "Read-only file system; work in a copy"),
        (errno.ENAMETOOLONG, "File name too long; give RUN"),
    ],
)
def test_what_the_machine_refuses_is_one_line_with_the_file(
    number: int, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise OSError(number, os.strerror(number), "oof/r/base.parquet")

    with pytest.raises(SystemExit) as ended:
        guarded(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: oof/r/base.parquet: {expected}")


def test_the_file_being_written_is_named_where_a_library_does_not(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(RuntimeError) as found, atomic(path):
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert refusal(found.value) == (
        f"{path}: No space left on device; free some space, then the same command goes on from here"
    )


def test_a_temporary_name_is_not_what_the_user_reads(tmp_path: Path) -> None:
    folder = tmp_path / "room"
    folder.mkdir()
    with pytest.raises(OSError, match="too long") as found:
        write_text(folder / ("n" * 300), "text")
    said = refusal(found.value)
    assert said is not None
    assert "File name too long" in said
    with pytest.raises(IsADirectoryError) as below:
        write_text(folder, "text")
    assert str(refusal(below.value)).startswith(f"{folder}: Is a directory")


def test_a_bug_keeps_its_traceback() -> None:
    for bug in ("raise ValueError('bug')", "open('nowhere')", "raise RuntimeError('bug')"):
        found = _step(bug)
        assert found.returncode == 1
        assert "Traceback" in found.stderr


def test_no_memory_is_one_line() -> None:
    found = _step("raise MemoryError('9 GB')")
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("error: memory: not enough (9 GB)")
    assert len(found.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_step_with_128_and_its_number(number: signal.Signals) -> None:
    # Twice, as from a terminal and from make: what the first one unwinds is not disturbed.
    body = f"""
    try:
        os.kill(os.getpid(), {int(number)})
    finally:
        os.kill(os.getpid(), {int(number)})
        print("tidied up", flush=True)
"""
    found = _step(body.strip())
    assert found.returncode == 128 + number
    assert found.stdout == "tidied up\n"
    assert found.stderr == "interrupted; the same command goes on from here\n"


def test_an_ignored_signal_stays_ignored() -> None:
    found = _step(
        "os.kill(os.getpid(), signal.SIGHUP); print('goes on')",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert (found.returncode, found.stdout) == (0, "goes on\n")


def test_who_stops_reading_sees_no_traceback() -> None:
    reads, writes = os.pipe()
    os.close(reads)
    words = [sys.executable, "-c", SCRIPT.format(body="print('figures')")]
    found = subprocess.run(words, stdout=writes, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writes)
    assert (found.returncode, found.stderr) == (128 + signal.SIGPIPE, "")
