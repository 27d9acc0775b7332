"""What ticks show of a service: arrivals of the last minute, and evidence of what its units carry."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from forecaster.planning.guard import WINDOW_S

LEARN_REQUESTS = 200
"""Requests of one piece of evidence: its load is their mean, not the noise of a tick."""


class Arrivals:
    """Arrivals of the last minute: answered requests, and by how much those in flight grew."""

    def __init__(self) -> None:
        self._ticks: deque[tuple[float, int]] = deque()
        self._in_flight: int | None = None

    def add(self, seconds: float, answered: int, in_flight: int) -> int:
        """Take one tick; return its arrivals."""
        grew = 0 if self._in_flight is None else in_flight - self._in_flight
        self._in_flight = in_flight
        arrivals = max(answered + grew, 0)
        if seconds > 0:
            self._ticks.append((seconds, arrivals))
        while len(self._ticks) > 1 and self.seconds - self._ticks[0][0] >= WINDOW_S:
            self._ticks.popleft()
        return arrivals

    @property
    def seconds(self) -> float:
        """How much of the last minute is seen."""
        return sum(seconds for seconds, _ in self._ticks)

    @property
    def count(self) -> int:
        """Requests that arrived in it."""
        return sum(arrivals for _, arrivals in self._ticks)


@dataclass(slots=True)
class Stretch:
    """Ticks that are one piece of evidence: as many units were ready all the time.

    Batch work is load to units, too: `batch_s` busy seconds of it.
    """

    ready: int
    seconds: float = 0.0
    arrivals: float = 0
    outside: float = 0
    counted: float = 0
    batch_s: float = 0.0


class Evidence:
    """Joins ticks to stretches, a few hundred requests each."""

    def __init__(self) -> None:
        self._sofar: Stretch | None = None

    def add(self, tick: Stretch) -> Stretch | None:
        """Take one tick; return the stretch that it completes, if it does."""
        sofar = self._sofar
        if sofar is None or sofar.ready != tick.ready:
            self._sofar = Stretch(tick.ready)  # what ends now was served by another fleet
            return None
        sofar.seconds += tick.seconds
        sofar.arrivals += tick.arrivals
        sofar.outside += tick.outside
        sofar.counted += tick.counted
        sofar.batch_s += tick.batch_s
        if sofar.counted < LEARN_REQUESTS or sofar.seconds <= 0:
            return None
        self._sofar = Stretch(tick.ready)
        return sofar
