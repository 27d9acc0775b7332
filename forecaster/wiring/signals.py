"""Ctrl-C, SIGTERM and a closed terminal at any moment: an exception while starting, an event after."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import ClassVar


class StopRequested(BaseException):  # a request, not an error: nothing may swallow it
    """The operator asked to stop while something was still starting."""


class StopSignals:
    """Turns the first SIGINT, SIGTERM or SIGHUP into a stop; later ones are ignored.

    Without a terminal, once started, SIGHUP asks for the settings to be read again instead.

    While `starting` is true the signal raises `StopRequested` in the main thread, so that whatever
    is under way unwinds (but for what is `shielded`); afterwards it sets `stop`.
    """

    active: ClassVar[StopSignals | None] = None

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.starting = True
        self.failure = ""
        self._news = threading.Event()
        self._hangup = False
        self.shields = 0
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> StopSignals:
        StopSignals.active = self
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # nohup
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        StopSignals.active = None
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def started(self) -> None:
        """From now on a signal sets the event."""
        self.starting = False

    def fail(self, why: str) -> None:
        """Stop because something is dead; from any thread."""
        self.failure = why
        self.stop.set()
        self._news.set()

    def wait(self, seconds: float | None, on_hangup: Callable[[], None]) -> None:
        """Wait until a stop is asked for, or for so long; `on_hangup` runs here, in this thread."""
        until_s = None if seconds is None else time.monotonic() + seconds
        while not self.stop.is_set():
            left_s = None if until_s is None else until_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                return
            self._news.wait(left_s)
            self._news.clear()
            if self._hangup:
                self._hangup = False
                on_hangup()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and not self.starting and not sys.stdin.isatty():
            self._hangup = True
            self._news.set()
            return
        self._news.set()
        first = not self.stop.is_set()
        self.stop.set()
        if first and self.starting and not self.shields:
            raise StopRequested


@contextmanager
def shielded() -> Iterator[None]:
    """What must not be torn is made whole first: a stop that was asked for comes at its end.

    For the moment between the start of a process and the callback that ends it.
    """
    signals = StopSignals.active
    if signals is None:
        yield
        return
    signals.shields += 1
    try:
        yield
    finally:
        signals.shields -= 1
    if signals.stop.is_set() and signals.starting and not signals.shields:
        raise StopRequested
