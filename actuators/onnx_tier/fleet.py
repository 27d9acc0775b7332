"""The units of a tier and the life of each, along the edges of `forecaster.domain.lifecycle`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from actuators.onnx_tier.devices import Device
from actuators.onnx_tier.links import FrameLink
from actuators.onnx_tier.rings import NumberedRing
from actuators.onnx_tier.spec import TierService
from forecaster.domain.lifecycle import LIVE_STATES, WARMING_STATES, UnitState, advance
from forecaster.domain.ports import Clock
from forecaster.domain.units import UnitEvent, UnitView

EVENTS_KEPT = 100_000
FAILED_SHOWN_S = 3600.0
"""A failed unit is reported for an hour of the installation's clock."""

FAILED_KEPT = 200


@dataclass(slots=True, eq=False)
class Unit:
    """One unit.

    Attributes
    ----------
    ordered_s, since_s : float
        On the installation's clock.
    heard_s, entered_s : float
        Monotonic real seconds: last sign of life, entry into the present state.
    ends_s : float
        Monotonic time by which its process must be gone; infinite while nothing asked it to end.
    released : bool
        Its end was ordered: an exit is no failure.
    packed_s : float or None
        Where it started in stages: how long its weights took to be packed, once they are.
    device : Device or None
        The GPU that it was placed on.
    """

    unit_id: str
    service: TierService
    order: int
    ordered_s: float
    since_s: float
    reason: str
    state: UnitState = UnitState.COLD
    lead_time_s: float | None = None
    provider: str = ""
    pid: int = 0
    link: FrameLink | None = None
    heard_s: float = field(default_factory=time.monotonic)
    entered_s: float = field(default_factory=time.monotonic)
    ends_s: float = float("inf")
    released: bool = False
    exited: bool = False
    how_it_ended: str = ""
    packed_s: float | None = None
    device: Device | None = None


class FleetTable:
    """Every unit, its state, and the numbered events of all.

    Parameters
    ----------
    tier : str
        Identity of the numbering.
    clock : Clock
        Stamps events.
    """

    def __init__(self, tier: str, clock: Clock) -> None:
        self.tier = tier
        self._clock = clock
        self._units: dict[str, Unit] = {}
        self._ordered = 0
        self.events: NumberedRing[UnitEvent] = NumberedRing(EVENTS_KEPT)

    def __iter__(self) -> Iterator[Unit]:
        return iter(tuple(self._units.values()))

    def get(self, unit_id: str) -> Unit | None:
        """Return a unit that is not gone."""
        return self._units.get(unit_id)

    def live(self) -> int:
        """Number of units that cost money."""
        return sum(unit.state in LIVE_STATES for unit in self._units.values())

    def devices_taken(self) -> list[tuple[Device, float]]:
        """Return where live units were placed, and the share of its device that each one holds."""
        return [
            (each.device, each.service.unit_type.device_memory_share)
            for each in self
            if each.device is not None and each.state in LIVE_STATES
        ]

    def order(self, service: TierService, reason: str, device: Device | None = None) -> Unit:
        """Add a cold unit, placed on `device`."""
        self._ordered += 1
        unit_id = f"{service.service}-{self.tier[:6]}-{self._ordered}"
        now_s = self._clock.now_s()
        unit = Unit(unit_id, service, self._ordered, now_s, now_s, reason, device=device)
        self._units[unit_id] = unit
        return unit

    def move(self, unit: Unit, after: UnitState, reason: str = "") -> None:
        """Take an edge of the life cycle and journal it.

        Raises
        ------
        LifecycleError
            When the edge does not exist.
        """
        before = unit.state
        unit.state = advance(unit.unit_id, before, after)
        now_s = self._clock.now_s()
        in_before_s, unit.since_s = now_s - unit.since_s, now_s
        unit.entered_s = time.monotonic()
        unit.reason = reason or unit.reason
        if after is UnitState.READY:
            unit.lead_time_s = now_s - unit.ordered_s
        self.events.append(
            lambda seq: UnitEvent(
                tier=self.tier,
                seq=seq,
                unit_id=unit.unit_id,
                service=unit.service.service,
                at_s=now_s,
                before=before,
                after=after,
                seconds=in_before_s,
                reason=unit.reason,
                provider=unit.provider,
            )
        )
        if after is UnitState.GONE:
            del self._units[unit.unit_id]
        if after is UnitState.FAILED:
            self._forget_old_failures()

    def drain_order(self, service: str, units: int, work_s: dict[str, float]) -> list[Unit]:
        """Choose whom to drain: warming units (newest first), then the emptiest ready ones."""
        mine = [each for each in self if each.service.service == service]
        warming = [each for each in mine if each.state in WARMING_STATES]
        warming.sort(key=lambda each: -each.order)
        ready = [each for each in mine if each.state is UnitState.READY]
        ready.sort(key=lambda each: (work_s.get(each.unit_id, 0.0), -each.order))
        return (warming + ready)[:units]

    def views(self, service: str, in_flight: dict[str, int]) -> tuple[UnitView, ...]:
        """Report the units of `service` that live or failed in the last hour."""
        oldest_s = self._clock.now_s() - FAILED_SHOWN_S
        return tuple(
            UnitView(
                unit_id=each.unit_id,
                service=service,
                state=each.state,
                ordered_s=each.ordered_s,
                since_s=each.since_s,
                lead_time_s=each.lead_time_s,
                in_flight=in_flight.get(each.unit_id, 0),
                provider=each.provider,
                reason=each.reason,
            )
            for each in self
            if each.service.service == service
            and (each.state in LIVE_STATES or each.since_s >= oldest_s)
        )

    def _forget_old_failures(self) -> None:
        failed = [each for each in self if each.state is UnitState.FAILED]
        for unit in failed[:-FAILED_KEPT]:
            del self._units[unit.unit_id]
