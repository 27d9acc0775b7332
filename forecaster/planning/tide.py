"""The tide table: load to need, need to hold, each slot with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from forecaster.domain.deferred import Backlog
from forecaster.domain.demand import SLOT_S, FloatArray, IntArray
from forecaster.domain.forecast import QuantileForecast
from forecaster.domain.plan import Binding, Reason, SlotPlan, TideTable
from forecaster.domain.pools import ONE_POOL, Split
from forecaster.planning.bounds import Bounds, bounds
from forecaster.planning.course import by_minute, course, lead_slots, worth
from forecaster.planning.deferred import FILL, extra_units, spare_erl
from forecaster.planning.policy import Policy
from forecaster.planning.risk import Grid, expected_outside_rps, mean_rps
from forecaster.planning.share import Share

HIGH_LEVEL = 0.95
"""Quantile of the rate that is shown beside the mean."""
BUSY_LEVEL = 0.9
"""Quantile of the load beside which batch work is thought to find room."""
HEAVIEST = 48
"""Slots of the week, by mean over its quantiles, among which the peak is looked for."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a service's units carry.

    Attributes
    ----------
    grid : Grid
        Requests/s outside the SLO over load and 0..N units.
    bindings : tuple of Binding
        What breaks first with 1..N units.
    work_s : float
        Busy seconds of one request of the mix that the grid was made for: a load in erlangs over
        this is the grid's rate.
    split : Split
        How units fall into pools.
    carried_erl : float64[N + 1]
        Load that 0..N units carry inside the SLO, busy units; empty where batch work is no matter.
    prices : float64[K] or None
        Of units, where they differ, see `layers.step_costs`.
    """

    grid: Grid
    bindings: tuple[Binding, ...]
    work_s: float
    split: Split = ONE_POOL
    carried_erl: FloatArray = field(default_factory=lambda: np.zeros(0))
    prices: FloatArray | None = None

    def carried(self, units: IntArray) -> FloatArray:
        """Load that so many units carry inside the SLO, busy units."""
        return np.asarray(self.carried_erl[np.minimum(units, self.carried_erl.size - 1)])


@dataclass(frozen=True, slots=True)
class Present:
    """The fleet that a plan starts from.

    Attributes
    ----------
    units : int
        Ready or warming.
    paid_s : tuple of float
        For each of them, the seconds for which it is paid anyway (minimum billing time).
    backlog : tuple of Backlog
        Batch work that waits.
    """

    units: int
    paid_s: tuple[float, ...] = ()
    backlog: tuple[Backlog, ...] = ()


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of the coming slots before anything is decided, minute by minute.

    Attributes
    ----------
    forecast : QuantileForecast
        What it was made from.
    start_s : float
        First slot, epoch seconds.
    outside_rps : float64[T, N + 1]
        Expected requests/s outside the SLO with 0..N units.
    mean_rps, shown_rps, high_rps : float64[T]
        Mean of the planned-for load over the mix's work, and mean and 95th percentile of the rate.
    load_erl : float64[T]
        Mean load in busy units.
    peak : int
        Most units that the coming week needs.
    within : Bounds
        Floors and ceilings.
    own : Bounds
        Those of the service itself, without the floors that batch work raised: under a quota it comes last.
    bindings : tuple of Binding
        What breaks first with 0..N units.
    present : Present
        The fleet that it starts from.
    data_until_s : float
        End of the last measured slot, epoch seconds.
    split : Split
        How units fall into pools.
    prices : float64[K] or None
        Of units, where they differ.
    """

    forecast: QuantileForecast
    start_s: float
    outside_rps: FloatArray
    mean_rps: FloatArray
    shown_rps: FloatArray
    high_rps: FloatArray
    load_erl: FloatArray
    peak: int
    within: Bounds
    own: Bounds
    bindings: tuple[Binding, ...]
    present: Present
    data_until_s: float
    split: Split = ONE_POOL
    prices: FloatArray | None = None

    def need(self, policy: Policy) -> IntArray:
        """Units of which the last one still saves more than it costs, int64[T]."""
        return worth(self.outside_rps, policy.price_s, prices=self.prices)


def tide_table(
    forecast: QuantileForecast,
    capacity: Capacity,
    policy: Policy,
    present: Present,
    data_until_s: float | None = None,
) -> TideTable:
    """Plan every slot of the horizon, from the moment at which the forecast was made.

    Parameters
    ----------
    forecast : QuantileForecast
        Quantiles of the coming load on its own grid, a week long where elasticity is below 1.
    capacity : Capacity
        What each number of units does to a load.
    policy : Policy
        Limits, prices, lead.
    present : Present
        Where the plan starts.
    data_until_s : float or None
        End of the last measured slot; None: the forecast's start.
    """
    return settle(foresee(forecast, capacity, policy, present, data_until_s), policy)


def foresee(
    forecast: QuantileForecast,
    capacity: Capacity,
    policy: Policy,
    present: Present,
    data_until_s: float | None = None,
) -> Outlook:
    """What the coming slots hold, see `tide_table`."""
    per_slot = round(forecast.slot_s / SLOT_S)
    first = math.floor(forecast.start_s / SLOT_S) * SLOT_S
    skipped = max(int((forecast.made_s - first) // SLOT_S), 0)
    rates = forecast.offered_load_erl / capacity.work_s * policy.load_factor
    skipped = min(skipped, rates.shape[0] * per_slot - 1)
    minutes = slice(skipped, skipped + max(int(policy.horizon_s // SLOT_S), 1))
    cut = slice(minutes.start // per_slot, minutes.stop // per_slot + 2)
    part = slice(minutes.start - cut.start * per_slot, minutes.stop - cut.start * per_slot)
    outside, mean = expected_outside_rps(rates[cut], forecast.levels, capacity.grid)
    outside, mean = by_minute(outside, per_slot)[part], by_minute(mean, per_slot)[part]
    start_s = float(first + skipped * SLOT_S)
    own = bounds(policy, start_s + SLOT_S * np.arange(mean.size, dtype=np.float64))
    outlook = Outlook(
        forecast=forecast,
        start_s=start_s,
        outside_rps=outside,
        mean_rps=mean,
        shown_rps=by_minute(mean_rps(forecast.arrival_rate_rps[cut], forecast.levels), per_slot)[
            part
        ],
        high_rps=by_minute(forecast.at_level(HIGH_LEVEL)[cut], per_slot)[part],
        load_erl=mean / policy.load_factor * capacity.work_s,
        peak=_peak(rates, forecast, capacity, policy),
        within=own,
        own=own,
        bindings=(Binding.NONE, Binding.NONE, *capacity.bindings[1:]),
        present=present,
        data_until_s=forecast.start_s if data_until_s is None else data_until_s,
        split=capacity.split,
        prices=capacity.prices,
    )
    if not present.backlog or not capacity.carried_erl.size:
        return outlook
    high_erl = policy.load_factor * forecast.load_at_level(BUSY_LEVEL)[cut]
    return _due_work(outlook, policy, capacity, by_minute(high_erl, per_slot)[part])


def _due_work(
    outlook: Outlook, policy: Policy, capacity: Capacity, high_erl: FloatArray
) -> Outlook:
    """Raise the floors where batch work would miss its deadline."""
    within, present = outlook.within, outlook.present
    _, held = course(
        outlook.outside_rps, policy, present.units, outlook.peak, within, prices=outlook.prices
    )
    spare = spare_erl(capacity.carried(held), high_erl)
    one_more = held.max(keepdims=True) + 1
    unit_erl = FILL * float((capacity.carried(one_more) / one_more)[0])
    room = np.maximum(within.most - held, 0)
    extra = extra_units(present.backlog, spare, outlook.start_s, unit_erl, room)
    step = policy.limits.step_units
    least = np.minimum(-(-(held + extra) // step) * step, within.most)
    due = (extra > 0) & (least > within.least)
    reasons = tuple(
        Reason.BATCH_WORK if more else whose
        for more, whose in zip(due.tolist(), within.reason, strict=True)
    )
    raised = Bounds(np.where(due, least, within.least), within.most, reasons)
    return replace(outlook, within=raised)


def settle(outlook: Outlook, policy: Policy, share: Share | None = None) -> TideTable:
    """Decide on an outlook: the cheapest schedule inside the bounds, each slot with its reason.

    Parameters
    ----------
    share : Share or None
        What others leave of the GPUs that are shared; None: all that it wants.
    """
    outside, within, mean = outlook.outside_rps, outlook.within, outlook.mean_rps
    if share is not None:
        share = share.over(mean.size)
    paid_s = np.asarray(outlook.present.paid_s)
    held = np.sort(np.ceil(paid_s / SLOT_S).astype(np.int64))[::-1]
    inside = within if share is None else share.inside(within)
    plan, hold = course(
        outside, policy, outlook.present.units, outlook.peak, inside, held, outlook.prices
    )
    need = outlook.need(policy)
    judged = within if share is None else share.judged(within)
    reasons = _reasons(need, plan, hold, judged, policy)
    wanted = np.zeros_like(hold) if share is None else share.wanted
    most, rows = outside.shape[1] - 1, np.arange(mean.size)
    lost = outside[rows, np.minimum(hold, most)]
    lost_share = np.clip(np.divide(lost, mean, out=np.zeros_like(mean), where=mean > 0), 0.0, 1.0)
    refused = np.where(wanted > hold, lost - outside[rows, np.minimum(wanted, most)], 0.0)
    slots = tuple(
        map(
            SlotPlan,
            (outlook.start_s + SLOT_S * np.arange(mean.size)).tolist(),
            outlook.shown_rps.tolist(), outlook.high_rps.tolist(), outlook.load_erl.tolist(),
            need.tolist(), hold.tolist(), lost_share.tolist(), reasons,
            [outlook.bindings[n] for n in np.minimum(need, most).tolist()],
            wanted.tolist(), np.maximum(refused, 0.0).tolist(),
        )
    )  # fmt: skip
    forecast = outlook.forecast
    return TideTable(
        service=forecast.service,
        made_s=forecast.made_s,
        slot_s=SLOT_S,
        lead_time_s=policy.lead_time_s,
        data_until_s=outlook.data_until_s,
        peak_units=outlook.peak,
        price_s=policy.price_s,
        slots=slots,
        split=outlook.split,
    )


def _peak(rates: FloatArray, forecast: QuantileForecast, capacity: Capacity, policy: Policy) -> int:
    """Most units that the coming week needs: its heaviest slots are those that can need them."""
    week = bounds(
        policy, forecast.start_s + forecast.slot_s * np.arange(rates.shape[0], dtype=float)
    )
    heavy = np.argsort(rates.mean(axis=1))[-HEAVIEST:]
    outside, _ = expected_outside_rps(rates[heavy], forecast.levels, capacity.grid)
    need = worth(outside, policy.price_s, policy.limits.step_units, capacity.prices)
    floor = int(week.least.max())
    return max(int(np.clip(need, week.least[heavy], week.most[heavy]).max()), floor)


def _reasons(
    need: IntArray, plan: IntArray, hold: IntArray, within: Bounds, policy: Policy
) -> list[Reason]:
    step = policy.limits.step_units
    stepped = -(-need // step) * step
    base = np.clip(stepped, within.least, within.most)
    before = np.arange(need.size) < lead_slots(policy.lead_time_s)
    # the first that holds counts
    cases = (
        (hold > plan, Reason.ELASTICITY),
        (plan > base, Reason.COMING_LOAD),
        ((plan < base) & before, Reason.LEAD),
        (plan < base, Reason.BRIEF),
        (base < stepped, Reason.MAX_UNITS),
        (base > stepped, Reason.MIN_UNITS),
        (stepped > need, Reason.STEP),
    )
    found = np.select([each for each, _ in cases], np.arange(len(cases)), len(cases))
    names = [*(reason for _, reason in cases), Reason.LOAD]
    reasons = [names[each] for each in found.tolist()]
    for i in [i for i, whose in enumerate(within.reason) if whose is not None]:
        if within.reason[i] is Reason.QUOTA:
            reasons[i] = Reason.QUOTA
        elif within.reason[i] is Reason.PIN and hold[i] == within.least[i]:
            reasons[i] = Reason.PIN
        elif reasons[i] in (Reason.MAX_UNITS, Reason.MIN_UNITS):
            reasons[i] = within.reason[i] or reasons[i]
    return reasons
