"""Clocks: real time, or a tide compressed by a constant factor."""

from __future__ import annotations

import time


class SystemClock:
    """Real time."""

    speed = 1.0

    def now_s(self) -> float:
        """Epoch seconds."""
        return time.time()


class ScaledClock:
    """Starts at `start_s` when `origin_s` (monotonic seconds) and runs `speed` times as fast.

    Two processes given the same three numbers show the same time.
    """

    def __init__(self, start_s: float, origin_s: float, speed: float) -> None:
        self.start_s = start_s
        self.origin_s = origin_s
        self.speed = speed

    def now_s(self) -> float:
        """Epoch seconds on the compressed clock."""
        return self.start_s + (time.monotonic() - self.origin_s) * self.speed
