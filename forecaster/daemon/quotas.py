"""The view of shared GPUs: who holds how many, who is refused some, and what that costs."""

from __future__ import annotations

from typing import Any

from forecaster.daemon.pilot import Pilot
from forecaster.daemon.sharing import Sharing, gpus_of
from forecaster.domain.demand import SLOT_S
from forecaster.store import Store

DAY_S = 86_400.0
_HOUR_S = 3600.0


def quotas(sharing: Sharing, store: Store, now_s: float) -> dict[str, Any]:
    """Every quota with its services, the higher priority first."""
    past = store.books.refused(now_s - DAY_S, now_s + _HOUR_S) if sharing.quotas else {}
    return {
        "now_s": now_s,
        "quotas": [
            {
                "name": quota.name,
                "gpus": quota.gpus,
                "taken_gpus": sum(_taken(pilot) for pilot in sharing.members(quota.name)),
                "services": [
                    _line(pilot, past.get(pilot.service.name, (0.0, 0.0)), now_s)
                    for pilot in sharing.members(quota.name)
                ],
            }
            for quota in sharing.quotas.values()
        ],
    }


def _taken(pilot: Pilot) -> int:
    return 0 if pilot.state.fleet is None else gpus_of(pilot, pilot.state.fleet)


def _line(pilot: Pilot, past: tuple[float, float], now_s: float) -> dict[str, Any]:
    table = pilot.state.table
    slot = table.at(now_s) if table else None
    ahead = [each for each in table.slots if each.start_s >= now_s] if table else []
    unit_s = sum(each.refused_units for each in ahead) * SLOT_S
    lost = sum(each.refused_rps for each in ahead) * SLOT_S
    return {
        "service": pilot.service.name,
        "priority": pilot.service.priority,
        "gpus_per_unit": pilot.unit.gpus,
        "units": _taken(pilot) // pilot.unit.gpus,
        "taken_gpus": _taken(pilot),
        "hold_units": slot.hold_units if slot else None,
        "wanted_units": max(slot.wanted_units, slot.hold_units) if slot else None,
        "refused_unit_hours": unit_s / _HOUR_S,
        "refused_requests": lost,
        "refused_cost": table.price_s * lost / _HOUR_S * pilot.unit.price_per_hour if table else 0,
        "past_day": {"refused_unit_hours": past[0] / _HOUR_S, "refused_requests": past[1]},
    }
