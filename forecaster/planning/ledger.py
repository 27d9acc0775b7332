"""Unit-seconds by state from unit events, and how many units there were at each moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.domain.lifecycle import LIVE_STATES, WARMING_STATES, UnitState
from forecaster.domain.units import UnitEvent

GROUPS = ("ready", "warming", "draining")


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was paid in a range, and what provisioning for the peak would have cost.

    Attributes
    ----------
    ready_s, warming_s, draining_s : float
        Unit-seconds.
    static_peak_s : float
        Unit-seconds of the peak fleet held all the time.
    saved_share : float
        Share of the static peak that was not paid; NaN for an empty range.
    """

    from_s: float
    to_s: float
    ready_s: float
    warming_s: float
    draining_s: float
    peak_units: int
    static_peak_s: float

    @property
    def paid_s(self) -> float:
        """Unit-seconds paid."""
        return self.ready_s + self.warming_s + self.draining_s

    @property
    def saved_share(self) -> float:
        """Share of the static peak that was not paid."""
        return 1 - self.paid_s / self.static_peak_s if self.static_peak_s > 0 else float("nan")


@dataclass(frozen=True, slots=True)
class Stay:
    """One unit in one group of states from `from_s` to `to_s`."""

    unit_id: str
    group: str
    from_s: float
    to_s: float


def group_of(state: UnitState) -> str | None:
    """ready, warming or draining; None for a unit that costs nothing."""
    if state not in LIVE_STATES:
        return None
    if state in WARMING_STATES:
        return "warming"
    return "ready" if state is UnitState.READY else "draining"


def stays(events: Sequence[UnitEvent], from_s: float, to_s: float) -> list[Stay]:
    """Every unit's stay in each group, cut to the range; open ones end at `to_s`."""
    latest: dict[str, UnitEvent] = {}
    found: list[Stay] = []

    def close(event: UnitEvent, end_s: float) -> None:
        group = group_of(event.after)
        begin, end = max(event.at_s, from_s), min(end_s, to_s)
        if group is not None and end > begin:
            found.append(Stay(event.unit_id, group, begin, end))

    for event in sorted(events, key=lambda e: (e.tier, e.seq)):
        if event.unit_id in latest:
            close(latest[event.unit_id], event.at_s)
        latest[event.unit_id] = event
    for event in latest.values():
        close(event, to_s)
    return found


def ledger(events: Sequence[UnitEvent], from_s: float, to_s: float, peak_units: int) -> Ledger:
    """Add up unit-seconds; events must reach back to the birth of every unit alive in the range."""
    total = dict.fromkeys(GROUPS, 0.0)
    for stay in stays(events, from_s, to_s):
        total[stay.group] += stay.to_s - stay.from_s
    return Ledger(
        from_s,
        to_s,
        total["ready"],
        total["warming"],
        total["draining"],
        peak_units,
        peak_units * (to_s - from_s),
    )


def counts_at(events: Sequence[UnitEvent], times_s: FloatArray) -> dict[str, list[int]]:
    """Units in each group at each moment."""
    if times_s.size == 0:
        return {group: [] for group in GROUPS}
    found = stays(events, -np.inf, float(times_s[-1]) + 1.0)
    counts = {group: np.zeros(times_s.size, dtype=np.int64) for group in GROUPS}
    for stay in found:
        inside = (times_s >= stay.from_s) & (times_s < stay.to_s)
        counts[stay.group] += inside
    return {group: values.tolist() for group, values in counts.items()}
