"""The life of a model unit, as one table. The supervisor obeys it, the docs are drawn from it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from forecaster.domain.errors import LifecycleError


class UnitState(StrEnum):
    """Where a unit is in its life."""

    COLD = "cold"
    """Ordered: paid for from here on."""
    STARTING = "starting"
    """The process is being made."""
    LOADING = "loading"
    """The session is being created on the required provider."""
    WARMING = "warming"
    """The warm-up request is under way."""
    READY = "ready"
    """The warm-up request was answered: routed to."""
    DRAINING = "draining"
    """Not routed to; finishes every accepted request."""
    GONE = "gone"
    """Released; memory returned."""
    FAILED = "failed"
    """Never became ready, crashed or hung; the reason is recorded."""


TRANSITIONS: Mapping[UnitState, frozenset[UnitState]] = MappingProxyType(
    {
        UnitState.COLD: frozenset({UnitState.STARTING, UnitState.GONE, UnitState.FAILED}),
        UnitState.STARTING: frozenset({UnitState.LOADING, UnitState.DRAINING, UnitState.FAILED}),
        UnitState.LOADING: frozenset({UnitState.WARMING, UnitState.DRAINING, UnitState.FAILED}),
        UnitState.WARMING: frozenset({UnitState.READY, UnitState.DRAINING, UnitState.FAILED}),
        UnitState.READY: frozenset({UnitState.DRAINING, UnitState.FAILED}),
        UnitState.DRAINING: frozenset({UnitState.GONE, UnitState.FAILED}),
        UnitState.GONE: frozenset(),
        UnitState.FAILED: frozenset(),
    }
)
"""Every edge that a unit may take."""

WARMING_STATES = frozenset(
    {UnitState.COLD, UnitState.STARTING, UnitState.LOADING, UnitState.WARMING}
)
"""States of a unit that is paid for and not yet supply."""

LIVE_STATES = WARMING_STATES | {UnitState.READY, UnitState.DRAINING}
"""States of a unit that costs money."""


def advance(unit_id: str, before: UnitState, after: UnitState) -> UnitState:
    """Return `after` if the table has the edge.

    Raises
    ------
    LifecycleError
        When the edge does not exist.

    Examples
    --------
    >>> advance("u1", UnitState.WARMING, UnitState.READY)
    <UnitState.READY: 'ready'>
    """
    if after not in TRANSITIONS[before]:
        allowed = ", ".join(sorted(TRANSITIONS[before])) or "nothing"
        raise LifecycleError(
            f"unit {unit_id}: {before} -> {after} is not an edge", f"{before} may become {allowed}"
        )
    return after
