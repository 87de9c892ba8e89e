"""Ctrl-C and SIGTERM while a model trains: they wait while its state is between two optimizer steps."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Deferred:
    """A context in which signals that Python handles wait: the handler of the first is called when it is left.

    Signals that are ignored, or end the process without a handler, are left as they are; so are all of them where it
    is not `active`, and outside of the main thread, which alone handles signals.
    """

    def __init__(self, active: bool = True) -> None:
        self.number = 0
        self._active = active and threading.current_thread() is threading.main_thread()
        self._handlers: dict[int, Callable[[int, FrameType | None], object]] = {}

    def __enter__(self) -> Self:
        for number in SIGNALS if self._active else ():
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._note)
        return self

    @property
    def came(self) -> bool:
        """Whether a signal waits."""
        return bool(self.number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = self.number or number

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self.number and kind is None:
            self._handlers[self.number](self.number, None)
