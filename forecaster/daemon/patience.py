"""How long a tick may plan: orders of thousands of services do not wait for the plans of some."""

from __future__ import annotations

import time
from collections.abc import Iterable

PLANNING_S = 2.0
"""Of one tick, real seconds; at least one plan is made."""


class Patience:
    """Seconds for new plans within a tick; whoever had to wait comes first in the next one.

    Parameters
    ----------
    limit_s : float
        Real seconds.
    """

    def __init__(self, limit_s: float = PLANNING_S) -> None:
        self.limit_s = limit_s
        self.waiting: list[str] = []
        self._spent_s = 0.0

    def begin(self, names: Iterable[str]) -> list[str]:
        """A new tick; the names in the order in which they should have their turn."""
        first, self.waiting, self._spent_s = self.waiting, [], 0.0
        return list(dict.fromkeys((*first, *names)))

    def allows(self, name: str) -> bool:
        """Whether a plan may be made now; if not, it waits for the next tick."""
        if self._spent_s < self.limit_s:
            return True
        self.waiting.append(name)
        return False

    def spend(self, began_s: float) -> None:
        """A plan was made that began at this moment of the monotonic clock."""
        self._spent_s += time.monotonic() - began_s
