"""Ctrl-C and SIGTERM at any moment: an exception while starting, an event while running."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class StopRequested(BaseException):  # a request, not an error: nothing may swallow it
    """The operator asked to stop while something was still starting."""


class StopSignals:
    """Turns the first SIGINT or SIGTERM into a stop; later ones are ignored.

    While `starting` is true the signal raises `StopRequested` in the main thread, so that whatever
    is under way unwinds; afterwards it sets `stop`.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.starting = True
        self._before: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def started(self) -> None:
        """From now on a signal sets the event."""
        self.starting = False

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        first = not self.stop.is_set()
        self.stop.set()
        if first and self.starting:
            raise StopRequested
