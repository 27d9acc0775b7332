"""Work that may wait until a deadline."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backlog:
    """Batch work that waits.

    Attributes
    ----------
    deadline_s : float
        By when it must be done, epoch seconds.
    work_s : float
        Busy seconds of a unit.
    """

    deadline_s: float
    work_s: float
