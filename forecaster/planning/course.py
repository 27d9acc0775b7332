"""The course of a fleet over the coming slots, and what it orders now: replay and daemon share it."""

from __future__ import annotations

import math

import numpy as np

from forecaster.domain.demand import SLOT_S, FloatArray, IntArray
from forecaster.planning.bounds import Bounds
from forecaster.planning.layers import Costs, convex_envelope, schedule, step_costs
from forecaster.planning.policy import Policy


def by_minute(slots: FloatArray, per_slot: int) -> FloatArray:
    """Values of slots on the planning grid, linear between the slots' middles, float64[M, ...].

    Flat before the first middle and after the last: M = slots * per_slot.
    """
    at = (np.arange(slots.shape[0] * per_slot) + 0.5) / per_slot - 0.5
    at = np.clip(at, 0.0, slots.shape[0] - 1.0)
    low = np.clip(np.floor(at).astype(np.int64), 0, max(slots.shape[0] - 2, 0))
    share = np.clip(at - low, 0.0, 1.0).reshape(-1, *([1] * (slots.ndim - 1)))
    high = np.minimum(low + 1, slots.shape[0] - 1)
    return np.asarray((1 - share) * slots[low] + share * slots[high])


def worth(
    outside_rps: FloatArray, price_s: float, step: int = 1, prices: FloatArray | None = None
) -> IntArray:
    """Units of which the last one still saves more than it costs, slot by slot, int64[T].

    Parameters
    ----------
    outside_rps : float64[T, N + 1]
        Expected requests/s outside with 0..N units.
    prices : float64[K] or None
        Of units, see `layers.step_costs`.
    """
    cost = step_costs(prices, outside_rps.shape[1] - 1, step)
    stepped = convex_envelope(outside_rps[:, : cost.size * step + 1 : step], cost)
    saved = price_s * (stepped[:, :-1] - stepped[:, 1:])
    return np.asarray((saved > cost).sum(axis=1) * step, np.int64)


def course(
    outside_rps: FloatArray,
    policy: Policy,
    present: int,
    peak: int,
    within: Bounds,
    held_slots: IntArray | None = None,
    prices: FloatArray | None = None,
) -> tuple[IntArray, IntArray]:
    """Units to hold in each slot of 60 s: the cheapest schedule, and what elasticity makes of it.

    ``hold = plan + (1 - e) * (peak - plan)``, rounded up to the purchase step (design, section 1).

    Parameters
    ----------
    outside_rps : float64[T, N + 1]
        Expected requests/s outside the SLO with 0..N units.
    present : int
        Units ready or warming now.
    peak : int
        Most units that the coming week needs.
    within : Bounds
        Floor and ceiling of each slot.
    held_slots : int64[K] or None
        Slots that each unit of the present fleet is paid for anyway, the longest first.
    prices : float64[K] or None
        Of units, see `layers.step_costs`.

    Returns
    -------
    plan, hold : int64[T]
        Before and after elasticity.
    """
    step = policy.limits.step_units
    costs = Costs(
        slot_s=float(SLOT_S),
        start_s=policy.lead_time_s + policy.churn_s,
        stop_s=policy.churn_s,
        violation_s=policy.price_s,
        lead_slots=lead_slots(policy.lead_time_s),
        least_on_slots=math.ceil(policy.min_billing_s / SLOT_S),
    )
    plan = schedule(
        outside_rps, costs, present, step=step, least=within.least, most=within.most,
        held_slots=held_slots, prices=prices,
    )  # fmt: skip
    more = (1.0 - policy.elasticity) * np.maximum(peak - plan, 0)
    held = plan + np.ceil(more / step - 1e-9).astype(np.int64) * step
    return plan, np.asarray(np.minimum(held, np.maximum(within.most, plan)))


def lead_slots(lead_time_s: float) -> int:
    """Slots before a unit that is ordered now answers."""
    return math.ceil(lead_time_s / SLOT_S - 1e-9)


def due(plan: IntArray, lead: int, every: int, present: int) -> int:
    """The fleet to have after this order: what must be there when what is ordered now is ready.

    Parameters
    ----------
    plan : int64[T]
        Units to hold, from now on.
    lead, every : int
        Slots from an order to readiness, and from this order to the next.
    """
    until = min(lead + every, plan.size)
    rising = int(plan[lead:until].max())
    if rising > present:
        return rising
    return min(int(plan[:until].max()), present)


def ahead(wanted: IntArray, ticks: int) -> IntArray:
    """Orders that have `wanted[t]` ready at every t: the most that the next `ticks` ticks want.

    Examples
    --------
    >>> ahead(np.array([1, 1, 3, 1, 1]), 2).tolist()
    [3, 3, 3, 1, 1]
    """
    padded = np.concatenate([wanted, np.full(ticks, wanted[-1])])
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, ticks + 1).max(axis=1))
