"""Which failed units the tier replaces by itself: those that served, and not for ever."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable

REPLACED_MOST = 6
WINDOW_S = 60.0


class Replacements:
    """A bound on replacements: `REPLACED_MOST` of a service in `WINDOW_S` seconds.

    A model that kills every unit must not be fed units for ever; whoever orders units sees the
    failures and decides.

    Parameters
    ----------
    now_s : callable
        Monotonic seconds.

    Examples
    --------
    >>> now = [0.0]
    >>> replacements = Replacements(lambda: now[0])
    >>> [replacements.allow("chat") for _ in range(7)].count(True)
    6
    >>> now[0] = 60.1
    >>> replacements.allow("chat")
    True
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._times: dict[str, deque[float]] = defaultdict(deque)

    def allow(self, service: str) -> bool:
        """Whether another unit of `service` may be replaced now; counts it if so."""
        now_s, times = self._now_s(), self._times[service]
        while times and times[0] < now_s - WINDOW_S:
            times.popleft()
        if len(times) >= REPLACED_MOST:
            return False
        times.append(now_s)
        return True
