"""One tick's decision: the table and the fleet in, one order out."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from forecaster.domain.lifecycle import WARMING_STATES, UnitState
from forecaster.domain.plan import Decision, Reason, SlotPlan, TideTable, Verb
from forecaster.domain.pools import Pool
from forecaster.domain.units import Fleet
from forecaster.planning.composition import Pools, lacking, less, to_spare
from forecaster.planning.policy import Policy

SUPPLY = WARMING_STATES | {UnitState.READY}


def decide(table: TideTable, fleet: Fleet, policy: Policy, now_s: float) -> Decision:
    """Order what must be ready one lead time from now; give back what nothing ahead needs.

    A stale table holds the present fleet: missing data never scales in.

    Parameters
    ----------
    table : TideTable
        The plan in force.
    fleet : Fleet
        Units as observed now; failed and draining ones are no supply.
    policy : Policy
        Lead time and windows.
    now_s : float
        Now, epoch seconds.
    """
    slow = _slow(fleet, policy, now_s)
    have = less(fleet.by_pool(*SUPPLY), slow)
    supply, hanging = table.split.whole(have), sum(slow.values())
    late = f", {hanging} slow to warm and not counted" if hanging else ""
    if now_s - table.made_s > policy.stale_s:
        age = (now_s - table.made_s) / 60
        text = f"hold {supply}: the plan is {age:.0f} min old"
        return _decision(table, now_s, Verb.HOLD, 0, supply, now_s, Reason.NO_FORECAST, text)
    due = peak_slot(table, now_s, now_s + policy.due_s)
    # units that hang still hold their GPUs: never more alive than the ceiling
    wanted = min(due.hold_units, policy.limits.max_units - hanging)
    free = policy.limits.max_units - hanging - sum(have.values())
    missing = lacking(table.split, have, max(wanted, 0), policy.denied_pools, max(free, 0))
    ahead = peak_slot(table, now_s, now_s + policy.window_s)
    spare = to_spare(table.split, have, ahead.hold_units)
    crowded = sum(missing.values()) > free
    if table.split.either and policy.denied_pools and any(missing.values()):
        late += f"; {', '.join(policy.denied_pools)} denied lately, others go first"
    if any(missing.values()) and not (crowded and any(spare.values())):
        target, room = _with_room(table, have, (max(wanted, 0), missing), policy)
        waiting = sum(missing.values()) - sum(room.values())
        if waiting:
            late += f"; {waiting} more wait for GPUs of the quota {policy.quota!r}"
        if not any(room.values()):
            text = f"hold {supply}: {_why(due, policy)}{late}"
            return _decision(table, now_s, Verb.HOLD, 0, supply, now_s, Reason.QUOTA, text)
        text = f"pre-warm {_said_units(room)}: {_why(due, policy)}; {fleet.ready} ready, {fleet.warming} warming{late}, lead p90 {policy.lead_time_s:.0f} s"
        made = _decision(
            table, now_s, Verb.PREWARM, sum(room.values()), target, due.start_s, due.reason, text
        )
        return replace(made, pools=_by_pool(room))
    if any(spare.values()):
        return _give_back(table, ahead, spare, (supply, policy, now_s))
    text = f"hold {supply}: {_why(due, policy)}{late}"
    return _decision(table, now_s, Verb.HOLD, 0, supply, now_s, due.reason, text)


def _give_back(
    table: TideTable, ahead: SlotPlan, spare: Pools, standing: tuple[int, Policy, float]
) -> Decision:
    """Drain what the coming slots do not need, unless something speaks against it."""
    supply, policy, now_s = standing
    silent_s = now_s - table.data_until_s
    if silent_s > policy.stale_s or table.made_s - table.data_until_s > policy.silent_s:
        text = (
            f"hold {supply}: the log is silent for {silent_s / 60:.0f} min, nothing is given back"
        )
        return _decision(table, now_s, Verb.HOLD, 0, supply, now_s, Reason.NO_FORECAST, text)
    again = policy.denied and max(s.hold_units for s in table.slots) >= supply
    if again and ahead.reason is not Reason.QUOTA:
        text = f"hold {supply}: capacity was denied lately, and today needs these units again"
        return _decision(table, now_s, Verb.HOLD, 0, supply, now_s, ahead.reason, text)
    text = f"drain {_said_units(spare)}: the coming {policy.window_s / 60:.0f} min need {ahead.hold_units} at most ({_why(ahead, policy)})"
    made = _decision(
        table, now_s, Verb.DRAIN, sum(spare.values()), ahead.hold_units, now_s, ahead.reason, text
    )
    return replace(made, pools=_by_pool(spare))


def _with_room(
    table: TideTable, have: Pools, lacks: tuple[int, Pools], policy: Policy
) -> tuple[int, Pools]:
    """The largest fleet up to the wanted one for which the quota has GPUs now, in purchase steps.

    Returns
    -------
    int, mapping
        Units after the order, and what is ordered.
    """
    split, room, (target, order) = table.split, policy.room_units, lacks
    while room is not None and target > 0 and sum(order.values()) > room:
        target -= policy.limits.step_units
        order = lacking(split, have, max(target, 0), policy.denied_pools)
    if split.either:
        target = split.whole({pool: have.get(pool, 0) + count for pool, count in order.items()})
    return max(target, 0), order


def _by_pool(units: Pools) -> tuple[tuple[Pool, int], ...]:
    """Orders of two pools; nothing to say where there is one."""
    return tuple((pool, count) for pool, count in units.items() if pool and count)


def _said_units(units: Pools) -> str:
    said = ", ".join(f"{count} {pool}" for pool, count in _by_pool(units))
    return f"{sum(units.values())} ({said})" if said else f"{sum(units.values())}"


def peak_slot(table: TideTable, from_s: float, to_s: float) -> SlotPlan:
    """Return the first slot with the most units to hold between two moments."""
    first = table.slots[0].start_s
    low = math.floor((from_s - first) / table.slot_s)
    high = math.floor((to_s - first) / table.slot_s)
    last = len(table.slots) - 1
    low, high = min(max(low, 0), last), min(max(high, 0), last)
    return max(table.slots[low : high + 1], key=lambda slot: slot.hold_units)


def _why(slot: SlotPlan, policy: Policy) -> str:
    load = (
        f"{slot.arrival_rate_rps:.3g} requests/s, up to {slot.high_rate_rps:.3g}"
        f" ({slot.offered_load_erl:.2g} erl) at {_clock(slot.start_s, policy.timezone)}"
    )
    reasons = {
        Reason.LOAD: f"{load} need {slot.need_units}, {slot.binding.value} binds",
        Reason.MIN_UNITS: f"the floor is {slot.hold_units}, {load} would need {slot.need_units}",
        Reason.MAX_UNITS: f"the ceiling is {slot.hold_units}, {load} would need {slot.need_units}",
        Reason.STEP: f"{load} need {slot.need_units}, bought in steps",
        Reason.ELASTICITY: f"elasticity holds {slot.hold_units}, {load} need {slot.need_units}",
        Reason.COMING_LOAD: f"{slot.hold_units} are kept through a lull, the load needs them again soon",
        Reason.BRIEF: f"{load} would like {slot.need_units} for too short a time to pay their start",
        Reason.QUOTA: f"{slot.hold_units} of {slot.wanted_units} are granted under the quota {policy.quota!r}, {load} need {slot.need_units}",
        Reason.BATCH_WORK: f"{slot.hold_units} do the batch work that is due, {load} need {slot.need_units}",
        Reason.LEAD: f"{load} need {slot.need_units}, ordered now they are ready too late",
        Reason.WINDOW: f"a schedule window holds {slot.hold_units}, {load} need {slot.need_units}",
        Reason.PIN: f"pinned at {slot.hold_units}{_said(policy)}, {load} need {slot.need_units}",
        Reason.NO_FORECAST: "no forecast can be trusted",
    }
    return reasons[slot.reason]


def _slow(fleet: Fleet, policy: Policy, now_s: float) -> Pools:
    """Units that warm for much longer than a unit does: no supply."""
    late = [unit for unit in fleet.units if now_s - unit.ordered_s > policy.slow_s]
    return Fleet(fleet.service, fleet.observed_s, tuple(late)).by_pool(*WARMING_STATES)


def _said(policy: Policy) -> str:
    return f" ({policy.pin.why})" if policy.pin is not None and policy.pin.why else ""


def _clock(time_s: float, timezone: str) -> str:
    return datetime.fromtimestamp(time_s, ZoneInfo(timezone)).strftime("%H:%M")


def _decision(
    table: TideTable,
    now_s: float,
    verb: Verb,
    units: int,
    target: int,
    needed_s: float,
    reason: Reason,
    text: str,
) -> Decision:
    return Decision(table.service, now_s, verb, units, target, needed_s, reason, text)
