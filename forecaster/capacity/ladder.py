"""A ladder of fleets of several types: each step adds one unit, and no step takes one away.

The cheapest units for a load are now two small ones, now one large one: from load to load units of one
type would have to be given back while others start. A ladder never does; what that costs is its excess
over the cheapest mix. Of all ladders the one is chosen that costs least over the loads that are seen: each step pays for
the loads that it adds, so the best ladder is a shortest path over the fleets, and the dynamic
programme that finds it is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray

STATES = 300_000
"""Fleets among which the best ladder is looked for; beyond them each step goes where a unit adds
most for its price."""
UNSEEN = 0.02
"""Weight of all loads alike beside those that the service sees."""
ABOVE = 1.3
"""Loads are thought possible up to this many times the largest that is seen."""
UNSERVED = 4.0
"""Loads that the whole ladder does not carry and other fleets would count this many times their price."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """Fleets of 1, 2, 3, ... units.

    Attributes
    ----------
    path : tuple of int
        Place of the type that each step adds.
    excess : float
        What it costs over the cheapest mix, less one; of loads that are seen in money. Those beyond
        the ladder's end are left out. 0.02 is two per cent dearer.
    """

    path: tuple[int, ...]
    excess: float


def best_ladder(
    capacity_rps: Sequence[FloatArray],
    prices: Sequence[float],
    max_units: int,
    seen_rps: Sequence[float] = (),
) -> Ladder:
    """The ladder of up to `max_units` units with the least mean excess over the cheapest mix.

    Parameters
    ----------
    capacity_rps : sequence of float64[K]
        For each type what 1..K units carry, never falling; K is what there is of it.
    prices : sequence of float
        Of a unit of each type.
    max_units : int
        Most units of all types together.
    seen_rps : sequence of float
        Loads, rising, each as likely as the next: the ladder is the one that costs least over
        these. Empty: all loads are alike, by their logarithm and what they cost at least.

    Examples
    --------
    A large unit carries ten for 8, a small one two for 2:

    >>> best_ladder([10.0 * np.arange(1, 4), 2.0 * np.arange(1, 4)], [8.0, 2.0], 6).path
    (1, 1, 1, 0, 0, 0)
    """
    # free units would make every other one look infinitely dear
    paid = np.maximum(np.asarray(prices, np.float64), 1e-9 * max(*prices, 1e-9))
    columns = [np.concatenate([[0.0], np.asarray(each, np.float64)]) for each in capacity_rps]
    edge = int(STATES ** (1 / len(columns))) - 1
    cut = [column[: edge + 1] for column in columns]
    units = min(max_units, edge if any(c.size > edge + 1 for c in columns) else max_units)
    path, excess = _shortest(cut, paid, units, seen_rps)
    return Ladder(tuple(_further(path, columns, paid, max_units)), excess)


def _shortest(
    columns: list[FloatArray],
    prices: FloatArray,
    max_units: int,
    seen_rps: Sequence[float],
) -> tuple[list[int], float]:
    """The best path through all fleets of up to so many units, and its mean excess."""
    shape = tuple(column.size for column in columns)
    strides = [int(np.prod(shape[i + 1 :])) for i in range(len(shape))]
    counts = np.stack([each.ravel() for each in np.indices(shape)])
    carried = sum(column[count] for column, count in zip(columns, counts, strict=True))
    price = np.asarray(prices @ counts)
    total = counts.sum(axis=0)
    most = min(max_units, int(total.max()))
    paid, width = _measure(np.asarray(carried), price, total <= most, seen_rps)
    value = np.full(total.size, np.inf)
    value[0] = 0.0
    came = np.full(total.size, -1, np.int8)
    by_total = np.argsort(total, kind="stable")
    ends = np.searchsorted(total[by_total], np.arange(most + 2))
    for n in range(1, most + 1):
        here = by_total[ends[n] : ends[n + 1]]
        for i, stride in enumerate(strides):
            at = here[counts[i, here] > 0]
            cost = value[at - stride] + price[at] * (paid[at] - paid[at - stride])
            better = cost < value[at]
            value[at[better]], came[at[better]] = cost[better], i
    last = by_total[ends[most] : ends[most + 1]]
    reach = float(width[total <= most].max())
    state = int(last[np.argmin(value[last] + UNSERVED * (reach - width[last]))])
    excess = float(value[state] / width[state]) - 1 if width[state] > 0 else 0.0
    path = []
    while state:
        path.append(int(came[state]))
        state -= strides[path[-1]]
    return path[::-1], max(excess, 0.0)


def _measure(
    carried: FloatArray,
    price: FloatArray,
    allowed: npt.NDArray[np.bool_],
    seen_rps: Sequence[float],
) -> tuple[FloatArray, FloatArray]:
    """Of each fleet: the weight of the loads up to what it carries, and the cheapest price of those.

    Where loads are seen they weigh by how often, so that prices add up to money; others by their
    logarithm over their price, those below the smallest unit's capacity as one step of it.
    """
    least = carried[allowed & (carried > 0)]
    scale = float(least.min()) if least.size else 1.0
    order = np.argsort(carried, kind="stable")
    known = np.where(allowed, price, np.inf)[order]
    cheapest = np.minimum.accumulate(known[::-1])[::-1]
    cheapest = np.where(np.isfinite(cheapest), cheapest, 0.0)
    log_load = np.log1p(carried[order] / scale)
    alike = np.diff(log_load, prepend=0.0)
    weight = np.where(cheapest > 0, alike / np.maximum(cheapest, 1e-300), 0.0)
    if len(seen_rps):
        often = np.diff(_share(seen_rps, carried[order]), prepend=0.0)
        money = float((often * cheapest).sum())
        weight *= UNSEEN / max(float(log_load[-1]), 1e-300)
        weight += often / money if money > 0 else 0.0
    paid, width = np.empty_like(carried), np.empty_like(carried)
    paid[order], width[order] = np.cumsum(weight), np.cumsum(weight * cheapest)
    return paid, width


def _share(seen_rps: Sequence[float], loads: FloatArray) -> FloatArray:
    """Share of the loads seen that are no larger, with room above the largest."""
    seen = np.maximum.accumulate(np.asarray(seen_rps, np.float64))
    at = np.concatenate([[0.0], seen, [ABOVE * seen[-1]]])
    levels = (np.arange(at.size) - 0.5) / (at.size - 2)
    return np.asarray(np.interp(loads, at + 1e-12 * np.arange(at.size), np.clip(levels, 0.0, 1.0)))


def _further(
    path: list[int], columns: list[FloatArray], prices: FloatArray, max_units: int
) -> list[int]:
    """Go on where the best path ends: each step where a unit adds most for its price."""
    counts = [path.count(i) for i in range(len(columns))]
    while len(path) < max_units:
        gains = [
            (column[count + 1] - column[count]) / price if count + 1 < column.size else -1.0
            for column, count, price in zip(columns, counts, prices, strict=True)
        ]
        best = int(np.argmax(gains))
        if gains[best] < 0:
            break
        counts[best] += 1
        path.append(best)
    return path
