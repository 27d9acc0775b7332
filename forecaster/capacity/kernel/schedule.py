"""Units come and go: fleet events, and the events that follow a number of ready units over time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

ANY_UNIT = -1
"""An order without a unit: a new one becomes ready, the least loaded one drains or crashes."""


class UnitEventKind(IntEnum):
    """What happens to a unit."""

    READY = 0
    """It answers from now on (a draining one that is named takes requests again)."""
    DRAIN = 1
    """It gets no more requests and is gone when it has answered what it holds."""
    CRASH = 2
    """It is gone now: started requests fail, the others go back to the queue."""


READY_AT, DRAIN, CRASH = (int(kind) for kind in UnitEventKind)


@dataclass(frozen=True, slots=True)
class UnitEvent:
    """One event of the fleet.

    Attributes
    ----------
    at_s : float
        When, on the clock of the trace.
    kind : UnitEventKind
        What.
    unit : int
        Whose; `ANY_UNIT` lets the kernel choose.
    """

    at_s: float
    kind: UnitEventKind
    unit: int = ANY_UNIT


def follow(ready_units: Iterable[tuple[float, int]], present: int) -> list[UnitEvent]:
    """Events after which the fleet has the stated number of ready units from each time on.

    Parameters
    ----------
    ready_units : iterable of (float, int)
        Time and number of ready units, rising times.
    present : int
        Ready units before.

    Examples
    --------
    >>> [(e.at_s, e.kind.name) for e in follow([(60.0, 3), (120.0, 2)], present=2)]
    [(60.0, 'READY'), (120.0, 'DRAIN')]
    """
    events: list[UnitEvent] = []
    for at_s, count in ready_units:
        kind = UnitEventKind.READY if count > present else UnitEventKind.DRAIN
        events += [UnitEvent(at_s, kind)] * abs(count - present)
        present = count
    return events
