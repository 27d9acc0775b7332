"""The fleet that a plan starts from."""

from __future__ import annotations

import math

from forecaster.domain.lifecycle import WARMING_STATES, UnitState
from forecaster.domain.plan import TideTable
from forecaster.domain.units import Fleet
from forecaster.planning.tide import Present

PRESENT_STATES = WARMING_STATES | {UnitState.READY}


def in_place(table: TideTable) -> Present:
    """The fleet that the first slots need: a plan that starts from it is not about its start."""
    soon = table.slots[: math.ceil(table.lead_time_s / table.slot_s) + 1]
    return Present(max(max(slot.need_units, slot.hold_units) for slot in soon))


def paid_s(fleet: Fleet, min_billing_s: float, now_s: float) -> tuple[float, ...]:
    """Seconds for which each unit of the fleet is paid anyway."""
    if min_billing_s <= 0:
        return ()
    alive = [unit for unit in fleet.units if unit.state in PRESENT_STATES]
    return tuple(max(unit.ordered_s + min_billing_s - now_s, 0.0) for unit in alive)
