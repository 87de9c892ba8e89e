"""Progress of long work: a bar with the time left on a terminal, plain lines in a log."""

import fcntl
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tqdm import tqdm

from battles.processes import PARENTS

LINE_EVERY_SECONDS = 20.0
# What takes less needs no word in a log.
SHORT_SECONDS = 5.0
# Seconds between two looks at what other processes have counted.
LOOK_EVERY_SECONDS = 0.5


_SHARE_ALONE = "{l_bar}{bar}| [{elapsed}<{remaining}{postfix}]"
_CLEAR_LINE = "\r\x1b[K"


class Progress:
    """Counts units of work; use as a context manager.

    On a terminal it is a tqdm bar. Elsewhere it prints a line every 20 seconds and one at the end, each with the share
    done and the time left, so that a log stays readable. Of the steps that one call of make runs side by side, one has
    the bar and the others print lines, as two bars would write on one line of the terminal. Units that are
    `weights` of the work mean nothing to a reader: the bar then shows the share alone, and short work ends without a
    line.
    """

    def __init__(self, title: str, total: int, silent: bool = False, weights: bool = False) -> None:
        self._title, self._total, self._done, self._silent = title, total, 0, silent
        self._worth_a_line = SHORT_SECONDS if weights else 0.0
        self._began = self._printed = time.monotonic()
        self._note = ""
        self._terminal = sys.stderr.isatty() and not silent
        self._owned = _own_the_bar() if self._terminal else None
        shown = _SHARE_ALONE if weights else None
        self._bar = tqdm(total=total, desc=title, leave=False, bar_format=shown) if self._owned is not None else None

    def __enter__(self) -> Self:
        return self

    def advance(self, units: int, note: str = "") -> None:
        """Counts `units` as done; `note` (a loss, say) stands beside the figures."""
        self._done += units
        self._note = note or self._note
        if self._bar is not None:
            self._bar.set_postfix_str(self._note, refresh=False)
            self._bar.update(units)
        elif time.monotonic() - self._printed >= LINE_EVERY_SECONDS:
            self._printed = time.monotonic()
            share = f"{100 * self._done / max(self._total, 1):.0f} %"
            if not self._done:  # of no pace there is no estimate
                self._print(share)
                return
            left = (self._printed - self._began) / self._done * (self._total - self._done)
            self._print(f"{share}, about {left:.0f} s left")

    def skip(self, units: int) -> None:
        """Counts `units` that an earlier process did: they say nothing about this one's pace."""
        self._total -= units
        if self._bar is not None:
            self._bar.total = self._total
            self._bar.refresh()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._owned is not None:
            os.close(self._owned)
        took = time.monotonic() - self._began
        if kind is None and took >= self._worth_a_line:
            self._print(f"done in {took:.1f} s")

    def _print(self, text: str) -> None:
        if self._silent:
            return
        if self._terminal:  # another step's bar may stand on this line
            print(_CLEAR_LINE, end="", file=sys.stderr, flush=True)
        print(f"{self._title}: {text}" + (f", {self._note}" if self._note else ""), flush=True)


def _own_the_bar() -> int | None:
    """A locked file's descriptor, which says that this process draws the call's bar; None where another one does."""
    folder = os.environ.get(PARENTS)
    if not folder or not Path(folder).is_dir():
        return os.open(os.devnull, os.O_RDONLY)  # nothing runs beside this process
    descriptor = os.open(Path(folder, "bar"), os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


class Counter:
    """Units of work that several processes count together: each adds bytes to one file, whose size is the count."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, units: int) -> None:
        """Counts `units`; may be called in any process."""
        with self._path.open("ab") as file:
            file.write(b"." * units)

    def value(self) -> int:
        """The units counted so far."""
        return self._path.stat().st_size if self._path.exists() else 0


@contextmanager
def counted(title: str, total: int, path: Path) -> Iterator[Counter]:
    """A counter for processes that work side by side, whose count this process shows; `path` is a file for it alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    counter, ended = Counter(path), threading.Event()
    with Progress(title, total) as progress:
        shown = 0

        def show() -> None:
            nonlocal shown
            value = counter.value()
            progress.advance(value - shown)
            shown = value

        def watch() -> None:
            while not ended.wait(LOOK_EVERY_SECONDS):
                show()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield counter
        finally:
            ended.set()
            watcher.join()
            show()
            path.unlink(missing_ok=True)
