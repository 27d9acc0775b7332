"""Units come and go: fleet events, and the events that follow a number of ready units over time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.domain.errors import SettingError

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


def warmed(
    orders: Iterable[tuple[float, int]], lead_times_s: FloatArray, seed: int = 0
) -> list[UnitEvent]:
    """Events of units that are ordered and become ready after a sampled lead time each.

    Parameters
    ----------
    orders : iterable of (float, int)
        Time of an order and number of units, any order.
    lead_times_s : float64[n]
        Lead times as measured, drawn with replacement; one value is a fixed lead.
    seed : int
        Of the draws.

    Raises
    ------
    SettingError
        When there is no lead time, or one is negative or not finite.

    Examples
    --------
    >>> [e.at_s for e in warmed([(60.0, 2)], np.array([180.0]))]
    [240.0, 240.0]
    """
    leads_s = np.asarray(lead_times_s, np.float64)
    if not leads_s.size or not (np.isfinite(leads_s) & (leads_s >= 0)).all():
        raise SettingError("lead_times_s", leads_s.tolist(), "one or more finite times >= 0")
    ordered_s = [float(at_s) for at_s, count in orders for _ in range(count)]
    drawn_s = np.random.default_rng(seed).choice(leads_s, len(ordered_s))
    ready_s = np.sort(np.array(ordered_s) + drawn_s)
    return [UnitEvent(float(at_s), UnitEventKind.READY) for at_s in ready_s]
