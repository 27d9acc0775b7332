"""When a refused client should come back: as soon as room is likely, and not before."""

from __future__ import annotations

import math

from forecaster.domain.lifecycle import WARMING_STATES
from forecaster.domain.units import Fleet

RETRY_AFTER_MOST_S = 120.0


def retry_after_s(fleet: Fleet, lead_s: float, backlog_s: float, speed: float = 1.0) -> int:
    """Return whole seconds, 1 to `RETRY_AFTER_MOST_S`.

    While units are ready: when the work that waits is done. Else: when the oldest unit that warms will
    be ready, by the latest lead time; with none ordered, a whole lead time.

    Parameters
    ----------
    fleet : Fleet
        The service's units now.
    lead_s : float
        Latest order-to-ready time, real seconds.
    backlog_s : float
        Seconds in which the ready units do the work that waits.
    speed : float
        Clock seconds of `fleet` per real second.

    Examples
    --------
    >>> from forecaster.domain.lifecycle import UnitState
    >>> from forecaster.domain.units import UnitView
    >>> warming = UnitView("u", "chat", UnitState.LOADING, ordered_s=100.0, since_s=100.0)
    >>> retry_after_s(Fleet("chat", 112.0, (warming,)), lead_s=30.0, backlog_s=0.0)
    18
    >>> retry_after_s(Fleet("chat", 112.0), lead_s=30.0, backlog_s=0.0)
    30
    """
    if fleet.ready:
        wait_s = backlog_s
    else:
        warming = [each for each in fleet.units if each.state in WARMING_STATES]
        ages_s = [(fleet.observed_s - each.ordered_s) / speed for each in warming]
        wait_s = lead_s - max(ages_s, default=0.0)
    return max(1, math.ceil(min(RETRY_AFTER_MOST_S, wait_s)))
