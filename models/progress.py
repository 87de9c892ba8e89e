"""Progress of long work: a bar with an estimate on a terminal, plain lines in a log."""

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

LINE_EVERY_SECONDS = 20.0


class Progress:
    """Counts units of work; use as a context manager.

    On a terminal it is a tqdm bar. Elsewhere it prints a line every 20 seconds and one at the end, each
    with the share done and the time left, so that a log stays readable.
    """

    def __init__(self, title: str, total: int, silent: bool = False) -> None:
        self._title, self._total, self._done, self._silent = title, total, 0, silent
        self._began = self._printed = time.monotonic()
        self._note = ""
        self._bar = tqdm(total=total, desc=title, leave=False) if sys.stderr.isatty() and not silent else None

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
            left = (self._printed - self._began) / max(self._done, 1) * (self._total - self._done)
            self._print(f"{100 * self._done / max(self._total, 1):.0f} %, about {left:.0f} s left")

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
        if kind is None:
            self._print(f"done in {time.monotonic() - self._began:.1f} s")

    def _print(self, text: str) -> None:
        if self._silent:
            return
        print(f"{self._title}: {text}" + (f", {self._note}" if self._note else ""), flush=True)
