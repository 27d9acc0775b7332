"""The plan before the first plan: nothing is known of the load, so the floor is held."""

from __future__ import annotations

from forecaster.domain.demand import SLOT_S
from forecaster.domain.plan import Binding, Reason, SlotPlan, TideTable
from forecaster.planning.policy import Policy


def floor_table(service: str, policy: Policy, now_s: float) -> TideTable:
    """A tide table of one slot that asks for `min_units`, for a service without a forecast.

    Its demand was never measured (`data_until_s` = 0): nothing is given back on it.
    """
    floor = policy.limits.min_units
    slot = SlotPlan(now_s, 0.0, 0.0, 0.0, 0, floor, 0.0, Reason.MIN_UNITS, Binding.NONE)
    lead_s = policy.lead_time_s
    return TideTable(service, now_s, SLOT_S, lead_s, 0.0, floor, 0.0, (slot,), policy.split)
