"""Pools seen as one service: whoever runs units knows each pool, or each type, by a name of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from forecaster.domain.errors import ActuatorUnavailableError, CapacityDeniedError, FencedError
from forecaster.domain.plan import Decision, Verb
from forecaster.domain.pools import Pool, of_pool, pool_service
from forecaster.domain.ports import Actuator, TakesBatchWork
from forecaster.domain.units import Fleet, RequestRecord, UnitEvent


class Pooled:
    """An actuator whose fleets and events say what each unit does.

    Parameters
    ----------
    actuator : Actuator
        Runs the units.
    pools : mapping of str to sequence of Pool
        Those of the services that have several.
    """

    def __init__(self, actuator: Actuator, pools: Mapping[str, Sequence[Pool]]) -> None:
        self._actuator, self._pools = actuator, dict(pools)

    @property
    def tier(self) -> str:
        """As the actuator's."""
        return self._actuator.tier

    def observe(self, service: str) -> Fleet:
        """Every unit of the service, of all its pools together."""
        if service not in self._pools:
            return self._actuator.observe(service)
        pools = self._pools[service]
        seen = {pool: self._actuator.observe(pool_service(service, pool)) for pool in pools}
        units = tuple(
            replace(unit, service=service, pool=pool)
            for pool, fleet in seen.items()
            for unit in fleet.units
        )
        return Fleet(
            service,
            max(fleet.observed_s for fleet in seen.values()),
            units,
            tuple(each for fleet in seen.values() for each in fleet.backlog),
            sum(fleet.batch_in_flight for fleet in seen.values()),
        )

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
        return (
            replace(event, service=service, pool=pool)
            if pool in self._pools.get(service, ())
            else event
        )


def carry_out(actuator: Actuator, decision: Decision, fence: int) -> tuple[str, list[Pool]]:
    """Give a decision's orders, pool by pool; what went wrong, and the pools that were denied capacity.

    One pool may be granted what the other is denied: the next tick asks for what is still missing.
    """
    key, said = f"{decision.service}:{decision.at_s:.3f}", ""
    denied: list[Pool] = []
    order = actuator.prewarm if decision.verb is Verb.PREWARM else actuator.drain
    for pool, units in decision.orders:
        name = pool_service(decision.service, pool)
        own_key = f"{key}:{pool}" if pool else key
        try:
            order(name, units, reason=decision.explanation, order_key=own_key, fence=fence)
        except CapacityDeniedError as error:
            said = f"capacity denied: {error}"
            denied.append(pool)
        except (ActuatorUnavailableError, FencedError) as error:
            return str(error), denied
    return said, denied
