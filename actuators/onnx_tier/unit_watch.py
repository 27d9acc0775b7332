"""The watch over units and waiting requests: four times a second, who is overdue is acted upon."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol, assert_never

from actuators.onnx_tier.fleet import FleetTable, Unit
from actuators.onnx_tier.health import Overdue, overdue, silence_s
from actuators.onnx_tier.router import Router
from actuators.onnx_tier.spec import TierSpec

log = logging.getLogger("onnx_tier")

MONITOR_S = 0.25


class Owner(Protocol):
    """Whose units are watched."""

    fleet: FleetTable
    router: Router

    def end(self, unit: Unit, how: str) -> None:
        """Record the end of a unit."""
        ...

    def kill_released(self, unit: Unit) -> None:
        """End the process of a unit whose end was ordered."""
        ...


async def watch(owner: Owner, spec: TierSpec) -> None:
    """Watch until cancelled."""
    last_s = time.monotonic()
    while True:
        await asyncio.sleep(MONITOR_S)
        now_s = time.monotonic()
        # A tier that was itself held up has not read the heartbeats: it may not judge yet.
        held_up = now_s - last_s > 4 * MONITOR_S
        last_s = now_s
        owner.router.expire()
        if not held_up:
            for unit in owner.fleet:
                if (late := overdue(unit, now_s, spec)) is not None:
                    _act_on(owner, spec, unit, late)


def _act_on(owner: Owner, spec: TierSpec, unit: Unit, late: Overdue) -> None:
    match late:
        case Overdue.LOAD:
            owner.end(unit, f"not loaded within {spec.load_deadline_s:g} s")
        case Overdue.HEARTBEAT:
            owner.end(unit, f"no heartbeat for {silence_s(unit, spec):g} s: killed")
        case Overdue.DRAIN:
            deadline_s = unit.service.unit_type.drain_deadline_s
            deadline = f"the drain deadline of {deadline_s:g} s"
            log.warning("unit %s is over %s", unit.unit_id, deadline)
            unit.reason = f"{unit.reason}; killed at {deadline}"
            owner.router.lose_unit(unit.unit_id, f"was ended at {deadline}")
            owner.kill_released(unit)
        case Overdue.EXIT:
            owner.kill_released(unit)
        case _:
            assert_never(late)
