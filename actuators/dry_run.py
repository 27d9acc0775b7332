"""A tier in memory: it obeys the whole contract and serves nobody. For shadow mode, for tests, and under KEDA.

Units become ready `lead_time_s` after the order on the given clock, draining takes `drain_time_s`.
Faults are injected through attributes: `deny` refuses capacity, `unavailable` fails every verb.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from actuators.fence import Fence
from actuators.order_book import OrderBook, check_units, of_service
from forecaster.domain.deferred import Backlog
from forecaster.domain.errors import (
    ActuatorUnavailableError,
    CapacityDeniedError,
    UnitGoneError,
)
from forecaster.domain.lifecycle import LIVE_STATES, WARMING_STATES, UnitState, advance
from forecaster.domain.ports import Clock
from forecaster.domain.units import Fleet, RequestRecord, UnitEvent, UnitView

_FAILED_SHOWN_S = 3600.0
_LOADING_STATES = (UnitState.STARTING, UnitState.LOADING, UnitState.WARMING, UnitState.READY)


@dataclass(slots=True)
class PaperUnit:
    """A unit, its place in the order of orders, and when it changes by itself."""

    view: UnitView
    order: int
    due_s: float


class DryRunActuator:
    """An `Actuator` whose units exist on paper.

    Parameters
    ----------
    clock : Clock
        The installation's clock.
    services : sequence of str
        What it serves.
    lead_time_s : float
        From the order to ready, clock seconds.
    drain_time_s : float
        From the drain to gone, clock seconds.
    max_units_total : int
        Units that may be alive at once.

    Attributes
    ----------
    deny : bool
        Refuse every pre-warm order with `CapacityDeniedError`.
    unavailable : bool
        Fail every verb with `ActuatorUnavailableError`.
    fail_next : str
        When set, the next unit that is ordered fails with this reason instead of becoming ready.
    backlog : dict of str to tuple of Backlog
        Batch work that waits, by service; it stays as it is until somebody says otherwise.
    let_in_units : dict of str to float
        How much of it was let in last, busy units.
    """

    def __init__(
        self,
        clock: Clock,
        services: Sequence[str],
        *,
        lead_time_s: float = 60.0,
        drain_time_s: float = 0.0,
        max_units_total: int = 1_000_000,
    ) -> None:
        self._clock = clock
        self._services = dict.fromkeys(services)
        self._lead_time_s = lead_time_s
        self._drain_time_s = drain_time_s
        self._max_units_total = max_units_total
        self._tier = uuid.uuid4().hex
        self._units: dict[str, PaperUnit] = {}
        self._of: dict[str, dict[str, PaperUnit]] = {name: {} for name in services}
        self._due_s = math.inf  # when the next unit changes by itself
        self._ordered = 0
        self._events: list[UnitEvent] = []
        self._dropped = 0  # events numbered up to this are not kept any more
        self._requests: list[RequestRecord] = []
        self._orders = OrderBook()
        self._fence = Fence()
        self.deny = False
        self.unavailable = False
        self.fail_next = ""
        self.backlog: dict[str, tuple[Backlog, ...]] = {}
        self.let_in_units: dict[str, float] = {}

    @property
    def tier(self) -> str:
        """Identity of this tier's numbering."""
        self._reach()
        return self._tier

    def observe(self, service: str) -> Fleet:
        """Return every unit of `service` that is alive or failed in the last hour."""
        self._reach(service)
        now_s = self._clock.now_s()
        units = tuple(
            each.view
            for each in self._of[service].values()
            if (each.view.state in LIVE_STATES or each.view.since_s >= now_s - _FAILED_SHOWN_S)
        )
        return Fleet(service, now_s, units, self.backlog.get(service, ()))

    def let_in(self, service: str, busy_units: float) -> None:
        """Note how much batch work there is room for."""
        self._reach(service)
        self.let_in_units[service] = busy_units

    def lead(self, fence: int) -> None:
        """Refuse the orders of earlier leaders from now on."""
        self._reach()
        self._fence.check(fence)

    def prewarm(
        self, service: str, units: int, *, reason: str, order_key: str, fence: int = 0
    ) -> tuple[str, ...]:
        """Order `units` more units; return their ids (the same for the same `order_key`)."""
        self._reach(service)
        self._fence.check(fence)
        check_units(units)
        key = ("prewarm", service, order_key)
        return self._orders.once(key, lambda: self._more(service, units, reason))

    def drain(
        self, service: str, units: int, *, reason: str, order_key: str, fence: int = 0
    ) -> tuple[str, ...]:
        """Drain `units` units, warming ones first, the newest first; return their ids."""
        self._reach(service)
        self._fence.check(fence)
        check_units(units)
        key = ("drain", service, order_key)
        return self._orders.once(key, lambda: self._fewer(service, units, reason))

    def drain_unit(self, unit_id: str, *, reason: str) -> None:
        """Drain one unit by name; `UnitGoneError` when it is already gone."""
        self._reach()
        unit = self._units.get(unit_id)
        if unit is None or unit.view.state is UnitState.FAILED:
            raise UnitGoneError(f"unit {unit_id!r} is gone")
        if unit.view.state is not UnitState.DRAINING:
            self._drain(unit, reason)

    def events_after(self, seq: int, limit: int = 1000) -> Sequence[UnitEvent]:
        """Return unit events numbered above `seq`, in order."""
        self._reach()
        begin = max(seq - self._dropped, 0)
        return self._events[begin : begin + limit]

    def requests_after(self, seq: int, limit: int = 10000) -> Sequence[RequestRecord]:
        """Return the requests that were pushed, numbered above `seq`, in order."""
        self._reach()
        return self._requests[seq : seq + limit]

    def push_request(self, record: RequestRecord) -> None:
        """Log a request as if it had been served; it gets this tier's next number."""
        seq = len(self._requests) + 1
        self._requests.append(replace(record, tier=self._tier, seq=seq))

    def fail_unit(self, unit_id: str, reason: str) -> None:
        """Make a live unit fail now."""
        self._move(self._units[unit_id], UnitState.FAILED, self._clock.now_s(), reason)

    def _more(self, service: str, units: int, reason: str) -> tuple[str, ...]:
        live = sum(each.view.state in LIVE_STATES for each in self._units.values())
        if self.deny or live + units > self._max_units_total:
            raise CapacityDeniedError(
                f"{units} more units of {service!r} are denied: "
                f"{live} of {self._max_units_total} are taken",
                "raise max_units_total or drain another service",
            )
        return tuple(self._order(service, reason) for _ in range(units))

    def _fewer(self, service: str, units: int, reason: str) -> tuple[str, ...]:
        mine = list(self._of[service].values())
        warming = [each for each in mine if each.view.state in WARMING_STATES]
        ready = [each for each in mine if each.view.state is UnitState.READY]
        chosen = (sorted(warming, key=_newest) + sorted(ready, key=_newest))[:units]
        ids = tuple(each.view.unit_id for each in chosen)
        for each in chosen:
            self._drain(each, reason)
        return ids

    def _reach(self, service: str | None = None) -> None:
        """Let time pass, then answer or fail as told."""
        if self.unavailable:
            raise ActuatorUnavailableError("the dry-run tier was told to be unavailable", "retry")
        if service is not None:
            of_service(self._services, service)
        now_s = self._clock.now_s()
        if now_s < self._due_s:
            return
        due = [each for each in self._units.values() if each.due_s <= now_s]
        for unit in sorted(due, key=lambda each: (each.due_s, each.order)):
            self._arrive(unit)
        self._due_s = min((each.due_s for each in self._units.values()), default=math.inf)

    def _know(self, unit: PaperUnit) -> None:
        """Know a unit, and when it changes by itself."""
        self._units[unit.view.unit_id] = unit
        self._of.setdefault(unit.view.service, {})[unit.view.unit_id] = unit
        self._due_s = min(self._due_s, unit.due_s)

    def _arrive(self, unit: PaperUnit, seen: bool = True) -> None:
        """Take the edges that are due, at the moment when they were due; whether that was seen."""
        if unit.view.state is UnitState.DRAINING:
            self._move(unit, UnitState.GONE, unit.due_s)
            return
        failure = unit.view.reason.removeprefix("will fail: ")
        if failure != unit.view.reason:
            self._move(unit, UnitState.FAILED, unit.due_s, failure)
            return
        for state in _LOADING_STATES[1:]:
            self._move(unit, state, unit.due_s, seen=seen or state is not UnitState.READY)

    def _lead_s(self, service: str) -> float:
        """From an order to ready, clock seconds."""
        del service  # one lead for all of them
        return self._lead_time_s

    def _order(self, service: str, reason: str) -> str:
        self._ordered += 1
        unit_id = f"{service}-{self._tier[:6]}-{self._ordered}"
        now_s = self._clock.now_s()
        if self.fail_next:
            reason, self.fail_next = f"will fail: {self.fail_next}", ""
        view = UnitView(unit_id, service, UnitState.COLD, now_s, now_s, reason=reason)
        unit = PaperUnit(view, self._ordered, now_s + self._lead_s(service))
        self._know(unit)
        self._move(unit, UnitState.STARTING, now_s)
        return unit_id

    def _drain(self, unit: PaperUnit, reason: str) -> None:
        now_s = self._clock.now_s()
        warming = unit.view.state in WARMING_STATES
        self._move(unit, UnitState.DRAINING, now_s, reason)
        unit.due_s = now_s if warming else now_s + self._drain_time_s
        self._due_s = min(self._due_s, unit.due_s)
        if unit.due_s <= now_s:
            self._arrive(unit)

    def _move(
        self,
        unit: PaperUnit,
        after: UnitState,
        at_s: float,
        reason: str = "",
        *,
        seen: bool = True,
    ) -> None:
        view = unit.view
        advance(view.unit_id, view.state, after)
        lead_time_s = at_s - view.ordered_s if after is UnitState.READY else view.lead_time_s
        unit.view = replace(
            view,
            state=after,
            since_s=at_s,
            lead_time_s=lead_time_s,
            provider="" if after is UnitState.STARTING else "dry-run",
            reason=reason or view.reason,
        )
        if after in {UnitState.READY, UnitState.FAILED}:
            unit.due_s = math.inf
        self._events.append(
            UnitEvent(
                tier=self._tier,
                seq=self._dropped + len(self._events) + 1,
                unit_id=view.unit_id,
                service=view.service,
                at_s=at_s,
                before=view.state,
                after=after,
                seconds=at_s - view.since_s if seen else math.nan,
                reason=unit.view.reason,
                provider=unit.view.provider,
            )
        )
        if after is UnitState.GONE:
            del self._units[view.unit_id], self._of[view.service][view.unit_id]


def _newest(unit: PaperUnit) -> int:
    return -unit.order
