"""The exact plan: unit-seconds, warm-up and churn against violations, one layer of units at a time.

Layer k is "at least k steps of units are held". What it costs a slot is the same for each layer,
what it saves in violations falls with k (on the lower convex envelope of the expected violations),
so the best schedules of the layers are nested and each is an on/off problem of its own: an exact
dynamic programme over two states instead of one over all fleets. Complexity O(T K). Units of several
types have a price each: everything that a layer costs is in proportion to its own, and the envelope
runs over money instead of over units, so that the layers are nested as before.

Source: marginal decomposition of separable convex problems over chains (B. Fox, "Discrete
optimization via marginal analysis", Management Science 13, 1966); starts, stops and minimum
on-times as in unit commitment (A. Borghetti et al., 2003, single-unit dynamic programming).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray

UnitArray = npt.NDArray[np.int64]
_SAVED_LEAST = 1e-4
"""Requests/s: a unit that saves less is not worth any price."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a schedule costs, everything in unit-seconds.

    Attributes
    ----------
    slot_s : float
        Length of a slot.
    start_s : float
        A unit's start: its warm-up, and what a change is thought to cost.
    stop_s : float
        A unit's end: its draining, and what a change is thought to cost.
    violation_s : float
        Unit-seconds that one request outside the SLO is worth.
    lead_slots : int
        Slots before a unit that is ordered now answers.
    least_on_slots : int
        A unit is kept at least this long once it is ready (minimum billing time). Above 1 each
        layer is still at its own optimum, but in rare cases a layer is on while the one below it is
        off: then the sum is a little dearer than the best schedule of all.
    """

    slot_s: float
    start_s: float
    stop_s: float
    violation_s: float
    lead_slots: int = 0
    least_on_slots: int = 1


def step_costs(prices: FloatArray | None, units: int, step: int = 1) -> FloatArray:
    """Price of each step of units, float64[units // step].

    Parameters
    ----------
    prices : float64[K] or None
        Of the 1st, 2nd, ... unit over the mean unit's, the last one goes on; None: 1 each.

    Examples
    --------
    >>> step_costs(np.array([0.5, 0.5, 2.0]), 5, 2)
    array([1., 4.])
    """
    if prices is None:
        return np.full(units // step, float(step))
    each = prices[np.minimum(np.arange(units // step * step), prices.size - 1)]
    return np.asarray(each.reshape(-1, step).sum(axis=1))


def convex_envelope(values: FloatArray, costs: FloatArray | None = None) -> FloatArray:
    """Lower convex envelope of each row over what fleets cost, float64 as `values`.

    Parameters
    ----------
    values : float64[T, N + 1]
    costs : float64[N] or None
        Of each step, above 0; None: 1.
    """
    steps = np.ones(values.shape[1] - 1) if costs is None else costs
    at = np.concatenate([[0.0], np.cumsum(steps)])
    return _envelope(np.ascontiguousarray(values), at)


@numba.njit(cache=True)
def _envelope(values: FloatArray, at: FloatArray) -> FloatArray:
    """Monotone chain (Andrew, 1979) over rising places."""
    rows, size = values.shape
    out = np.empty((rows, size))
    chain = np.empty(size, np.int64)
    for t in range(rows):
        row = values[t]
        top = 0
        for n in range(size):
            while top > 1:
                a, b = chain[top - 2], chain[top - 1]
                if (row[b] - row[a]) * (at[n] - at[a]) < (row[n] - row[a]) * (at[b] - at[a]):
                    break
                top -= 1
            chain[top] = n
            top += 1
        for i in range(top - 1):
            a, b = chain[i], chain[i + 1]
            for n in range(a, b + 1):
                out[t, n] = row[a] + (row[b] - row[a]) * (at[n] - at[a]) / (at[b] - at[a])
        if top == 1:
            out[t, 0] = row[0]
    return out


@numba.njit(cache=True)
def _on_off(
    run_cost: FloatArray,
    starts: FloatArray,
    stops: FloatArray,
    lead: int,
    least_on: int,
    was_on: npt.NDArray[np.bool_],
    held: UnitArray,
) -> npt.NDArray[np.bool_]:
    """Cheapest on/off schedule of every layer, bool[T, K]."""
    slots, layers = run_cost.shape
    on = np.zeros((slots, layers), np.bool_)
    if_on = np.empty(slots + 1)
    if_off = np.empty(slots + 1)
    total = np.empty(slots + 1)
    for k in range(layers):
        start, stop = starts[k], stops[k]
        total[0] = 0.0
        for t in range(slots):
            total[t + 1] = total[t] + run_cost[t, k]
        if_on[slots] = 0.0
        if_off[slots] = 0.0
        for t in range(slots - 1, -1, -1):
            end = min(t + least_on, slots)
            begin = start + total[end] - total[t] + if_on[end]
            if_off[t] = if_off[t + 1]
            if t >= lead and begin < if_off[t]:
                if_off[t] = begin
            if_on[t] = min(run_cost[t, k] + if_on[t + 1], stop + if_off[t + 1])
        t = 0
        state = was_on[k]
        while t < slots:
            if state:
                if t < held[k] or run_cost[t, k] + if_on[t + 1] <= stop + if_off[t + 1]:
                    on[t, k] = True
                    t += 1
                else:
                    state = False
                    t += 1
            elif t >= lead and if_off[t] < if_off[t + 1]:
                state = True
                end = min(t + least_on, slots)
                on[t:end, k] = True
                t = end
            else:
                t += 1
    return on


def schedule(
    outside_rps: FloatArray,
    costs: Costs,
    present: int,
    *,
    step: int = 1,
    least: UnitArray | int = 0,
    most: UnitArray | int | None = None,
    held_slots: UnitArray | None = None,
    prices: FloatArray | None = None,
) -> UnitArray:
    """Units to have in each slot: the cheapest schedule from the present fleet on, int64[T].

    Parameters
    ----------
    outside_rps : float64[T, N + 1]
        Expected requests/s outside the SLO with 0..N units.
    costs : Costs
        Prices in unit-seconds.
    present : int
        Units ready or warming now.
    step : int
        Units are bought by this many.
    least, most : int or int64[T]
        Floor and ceiling of each slot (limits, schedule windows, pins); the ceiling wins.
    held_slots : int64[K] or None
        Slots that each layer of the present fleet must still be kept, the oldest first.
    prices : float64[K] or None
        Of the 1st, 2nd, ... unit over the mean unit's, see `step_costs`.

    Returns
    -------
    int64[T]
        Multiples of `step`. Before `lead_slots` never above the present fleet: what is not
        ordered cannot be there.
    """
    slots, size = outside_rps.shape
    layers = (size - 1) // step
    if slots == 0 or layers == 0:
        return np.zeros(slots, np.int64)
    cost = step_costs(prices, layers * step, step)
    stepped = convex_envelope(outside_rps[:, : layers * step + 1 : step], cost)
    saved_s = costs.violation_s * costs.slot_s * (stepped[:, :-1] - stepped[:, 1:])
    run_cost = cost * costs.slot_s - saved_s
    number = np.arange(1, layers + 1) * step
    floor = np.broadcast_to(np.asarray(least), slots)[:, None]
    ceiling = np.broadcast_to(np.asarray(size - 1 if most is None else most), slots)[:, None]
    # floors and ceilings: a price above all that a layer can ever cost, and no more than that, so
    # that the other slots' costs are not lost beside it
    changes = (slots + 1) * cost * (costs.start_s + costs.stop_s)
    force = 1.0 + changes + np.abs(run_cost).sum(axis=0)
    forbidden = number > ceiling
    run_cost = run_cost + force * forbidden - force * ((number - step < floor) & ~forbidden)
    held = np.zeros(layers, np.int64)
    if held_slots is not None:
        held[: min(held_slots.size, layers)] = held_slots[:layers]
    on = _on_off(
        np.ascontiguousarray(run_cost),
        cost * costs.start_s,
        cost * costs.stop_s,
        costs.lead_slots,
        max(costs.least_on_slots, 1),
        number - step < present,
        held,
    )
    return np.asarray(on.sum(axis=1) * step, np.int64)


def violation_price_s(
    foreseen_rps: FloatArray,
    happened_rps: FloatArray,
    rate_rps: FloatArray,
    share: float,
    step: int = 1,
    prices: FloatArray | None = None,
) -> float:
    """Unit-seconds a request outside must be worth for past plans to have spent `share` and no more.

    At one price for all, each slot holds the units whose last one still pays: equal marginal cost
    everywhere (a Lagrange multiplier), so that the budget is spent where it buys most. The plans are
    made from what was foreseen and judged by what happened, so a price also makes up for forecasts
    that are too wide or too narrow, and for a curve that is too good or too bad.

    Parameters
    ----------
    foreseen_rps : float64[T, N + 1]
        Expected requests/s outside with 0..N units, by the forecasts made at the lead.
    happened_rps : float64[T, N + 1]
        Requests/s outside with 0..N units at the load that came.
    rate_rps : float64[T]
        Requests/s that came.
    share : float
        Allowed share of all requests.
    prices : float64[K] or None
        Of units, see `step_costs`.

    Returns
    -------
    float
        The least price that keeps within `share`; where none does, the one at which the last unit
        that still saves anything is bought.

    Examples
    --------
    One slot of 10 requests/s; each of three units saves less than the one before:

    >>> outside = np.array([[10.0, 2.0, 0.1, 0.0]])
    >>> violation_price_s(outside, outside, np.array([10.0]), 0.01)
    0.5263157894736842
    """
    cost = step_costs(prices, foreseen_rps.shape[1] - 1, step)
    envelope = convex_envelope(foreseen_rps[:, : cost.size * step + 1 : step], cost)
    saved = (envelope[:, :-1] - envelope[:, 1:]) / cost
    realised = happened_rps[:, ::step][:, : envelope.shape[1]]
    allowed = share * float(rate_rps.sum())
    tried = 1.0 / np.unique(np.maximum(saved, _SAVED_LEAST))[::-1]
    rows = np.arange(saved.shape[0])
    low, high = -1, tried.size - 1  # at -1 nothing is held
    if float(realised[:, 0].sum()) <= allowed:
        return 0.0
    while high - low > 1:
        middle = (low + high) // 2
        held = (saved >= 1.0 / tried[middle] * (1 - 1e-12)).sum(axis=1)
        if float(realised[rows, held].sum()) <= allowed:
            high = middle
        else:
            low = middle
    return float(tried[high])
