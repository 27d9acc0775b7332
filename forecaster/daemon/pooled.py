"""Two pools seen as one service: whoever runs units knows each pool by a name of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from forecaster.domain.errors import ActuatorUnavailableError, CapacityDeniedError, FencedError
from forecaster.domain.plan import Decision, Verb
from forecaster.domain.pools import PAIR, of_pool, pool_service
from forecaster.domain.ports import Actuator, TakesBatchWork
from forecaster.domain.units import Fleet, RequestRecord, UnitEvent


class Pooled:
    """An actuator whose fleets and events say what each unit does.

    Parameters
    ----------
    actuator : Actuator
        Runs the units.
    paired : collection of str
        Services in two pools.
    """

    def __init__(self, actuator: Actuator, paired: Collection[str]) -> None:
        self._actuator, self._paired = actuator, frozenset(paired)

    @property
    def tier(self) -> str:
        """As the actuator's."""
        return self._actuator.tier

    def observe(self, service: str) -> Fleet:
        """Every unit of the service, of both pools together."""
        if service not in self._paired:
            return self._actuator.observe(service)
        seen = {pool: self._actuator.observe(pool_service(service, pool)) for pool in PAIR}
        units = tuple(
            replace(unit, service=service, pool=pool)
            for pool, fleet in seen.items()
            for unit in fleet.units
        )
        return Fleet(service, max(fleet.observed_s for fleet in seen.values()), units)

    def let_in(self, service: str, busy_units: float) -> None:
        """As the actuator's, where it keeps batch work at all."""
        if isinstance(self._actuator, TakesBatchWork):
            self._actuator.let_in(service, busy_units)

    def lead(self, fence: int) -> None:
        """As the actuator's."""
        self._actuator.lead(fence)

    def prewarm(
        self, service: str, units: int, *, reason: str, order_key: str, fence: int = 0
    ) -> tuple[str, ...]:
        """Order units of one pool, by its own name."""
        return self._actuator.prewarm(
            service, units, reason=reason, order_key=order_key, fence=fence
        )

    def drain(
        self, service: str, units: int, *, reason: str, order_key: str, fence: int = 0
    ) -> tuple[str, ...]:
        """Drain units of one pool, by its own name."""
        return self._actuator.drain(service, units, reason=reason, order_key=order_key, fence=fence)

    def drain_unit(self, unit_id: str, *, reason: str) -> None:
        """As the actuator's."""
        self._actuator.drain_unit(unit_id, reason=reason)

    def events_after(self, seq: int, limit: int = 1000) -> Sequence[UnitEvent]:
        """Unit events, each of its service and with its pool."""
        return [self._of_pool(each) for each in self._actuator.events_after(seq, limit)]

    def requests_after(self, seq: int, limit: int = 10000) -> Sequence[RequestRecord]:
        """As the actuator's: requests are of services, not of pools."""
        return self._actuator.requests_after(seq, limit)

    def _of_pool(self, event: UnitEvent) -> UnitEvent:
        service, pool = of_pool(event.service)
        return replace(event, service=service, pool=pool) if service in self._paired else event


def carry_out(actuator: Actuator, decision: Decision, fence: int) -> tuple[str, bool]:
    """Give a decision's orders, pool by pool; what went wrong, and whether capacity was denied.

    One pool may be granted what the other is denied: the next tick asks for what is still missing.
    """
    key, said, denied = f"{decision.service}:{decision.at_s:.3f}", "", False
    order = actuator.prewarm if decision.verb is Verb.PREWARM else actuator.drain
    for pool, units in decision.orders:
        name = pool_service(decision.service, pool)
        own_key = f"{key}:{pool}" if pool else key
        try:
            order(name, units, reason=decision.explanation, order_key=own_key, fence=fence)
        except CapacityDeniedError as error:
            said, denied = f"capacity denied: {error}", True
        except (ActuatorUnavailableError, FencedError) as error:
            return str(error), denied
    return said, denied
