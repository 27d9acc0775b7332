"""Ctrl-C, SIGTERM and a closed terminal at any moment: an exception while starting, an event after."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import ClassVar


class StopRequested(BaseException):  # a request, not an error: nothing may swallow it
    """The operator asked to stop while something was still starting."""


class StopSignals:
    """Turns the first SIGINT, SIGTERM or SIGHUP into a stop; later ones are ignored.

    While `starting` is true the signal raises `StopRequested` in the main thread, so that whatever
    is under way unwinds (but for what is `shielded`); afterwards it sets `stop`.
    """

    active: ClassVar[StopSignals | None] = None

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.starting = True
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

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
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
