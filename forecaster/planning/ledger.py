"""Unit-seconds by state from unit events, and how many units there were at each moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.domain.lifecycle import LIVE_STATES, WARMING_STATES, UnitState
from forecaster.domain.pools import Pool
from forecaster.domain.units import UnitEvent

STATES = ("ordered", "warming", "ready", "draining")
"""What a unit is paid for: waiting to be made, becoming ready, serving, finishing."""
GROUPS = ("ready", "warming", "draining")
"""The same for the eye: what is ordered and not yet ready is warming."""


@dataclass(frozen=True, slots=True)
class Stay:
    """One unit in one of `STATES` from `from_s` to `to_s`, and why it came there."""

    unit_id: str
    state: str
    from_s: float
    to_s: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Life:
    """One unit from its order to its end.

    Attributes
    ----------
    stays : tuple of Stay
        Without gaps, in order; the last one of a unit that lives is open: it ends at infinity.
    ending, ending_reason : str
        ``gone`` or ``failed``, and why; empty while the unit lives.
    pool : Pool
        What it did for its service.
    """

    unit_id: str
    stays: tuple[Stay, ...]
    ending: str = ""
    ending_reason: str = ""
    pool: Pool = Pool.WHOLE

    @property
    def born_s(self) -> float:
        """When it was ordered, epoch seconds."""
        return self.stays[0].from_s

    @property
    def ended_s(self) -> float:
        """When it was gone or had failed; infinity while it lives."""
        return self.stays[-1].to_s


def paid_state(state: UnitState) -> str | None:
    """One of `STATES`; None for a unit that costs nothing."""
    if state not in LIVE_STATES:
        return None
    if state is UnitState.COLD:
        return "ordered"
    return "warming" if state in WARMING_STATES else state.value


def lives(events: Sequence[UnitEvent]) -> list[Life]:
    """The life of every unit, by birth; the events of a unit begin with its order.

    Examples
    --------
    >>> cold, starting, gone = UnitState.COLD, UnitState.STARTING, UnitState.GONE
    >>> made = UnitEvent("t", 1, "u", "chat", 12.0, cold, starting, 2.0)
    >>> (life,) = lives([made])
    >>> [(stay.state, stay.from_s, stay.to_s) for stay in life.stays]
    [('ordered', 10.0, 12.0), ('warming', 12.0, inf)]
    """
    by_unit: dict[str, list[UnitEvent]] = {}
    for event in sorted(events, key=lambda e: (e.tier, e.seq)):
        by_unit.setdefault(event.unit_id, []).append(event)
    found = []
    for unit_id, own in by_unit.items():
        ends = [*(event.at_s for event in own), np.inf]
        states = [own[0].before, *(event.after for event in own)]
        begins = [own[0].at_s - own[0].seconds, *ends[:-1]]
        reasons = [own[0].reason, *(event.reason for event in own)]
        stays = tuple(
            Stay(unit_id, name, begin, float(end), reason)
            for state, begin, end, reason in zip(states, begins, ends, reasons, strict=True)
            if (name := paid_state(state)) is not None
        )
        if stays:
            last = own[-1]
            ended = paid_state(last.after) is None
            ending = (last.after.value, last.reason) if ended else ("", "")
            found.append(Life(unit_id, stays, *ending, own[0].pool))
    return sorted(found, key=lambda life: (life.born_s, life.unit_id))


def counts_at(events: Sequence[UnitEvent], times_s: FloatArray) -> dict[str, list[int]]:
    """Units in each of `GROUPS` at each moment."""
    counts = {group: np.zeros(times_s.size, dtype=np.int64) for group in GROUPS}
    for life in lives(events):
        for stay in life.stays:
            group = "warming" if stay.state == "ordered" else stay.state
            counts[group] += (times_s >= stay.from_s) & (times_s < stay.to_s)
    return {group: values.tolist() for group, values in counts.items()}


def unit_seconds(units: Sequence[Life], edges_s: FloatArray) -> dict[str, FloatArray]:
    """Unit-seconds in each of `STATES` between consecutive edges, float64[edges - 1]."""
    total = {state: np.zeros(edges_s.size - 1) for state in STATES}
    for life in units:
        for stay in life.stays:
            inside = np.clip(edges_s, stay.from_s, stay.to_s)
            total[stay.state] += np.diff(inside)
    return total
