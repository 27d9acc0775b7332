"""Units of several types under one load: the cheapest mix that carries it.

The load is split over the types in proportion to what each pool carries, at random, so that each pool
sees a thinned stream of the same kind and keeps the SLO by its own table: what the pools carry adds up,
and the mix keeps the target if each pool does. One large pool of mixed units would carry a little
more; what is promised here is what is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.domain.errors import SettingError

MATCH = 1e-9


@dataclass(frozen=True, slots=True)
class Pool:
    """Units of one type.

    Attributes
    ----------
    name : str
        Unit type.
    capacity_rps : float64[K]
        What 1..K units carry inside the SLO, never falling, requests/s; K is the ceiling.
    price_per_hour : float
        Of one unit, above 0.
    least : int
        Units that are held in any case.
    """

    name: str
    capacity_rps: FloatArray
    price_per_hour: float
    least: int = 0


@dataclass(frozen=True, slots=True)
class Mix:
    """What is bought of each type.

    Attributes
    ----------
    units : tuple of int
        In the order of the pools.
    share : tuple of float
        Share of the load that each pool takes.
    price_per_hour : float
        Of all together.
    capacity_rps : float
        What they carry.
    """

    units: tuple[int, ...]
    share: tuple[float, ...]
    price_per_hour: float
    capacity_rps: float


def cheapest(pools: Sequence[Pool], rate_rps: float) -> Mix:
    """The cheapest units that carry a rate; of equally cheap ones those that carry more.

    Exact: every count of all pools but the last is tried, the last takes the fewest units that carry
    the rest, and what costs more than the best so far is cut (branch and bound).

    Parameters
    ----------
    pools : sequence of Pool
        One or more.
    rate_rps : float
        Load, requests/s, >= 0.

    Raises
    ------
    SettingError
        When all pools together do not carry the rate, or a price is not above 0.

    Examples
    --------
    A large unit carries ten for 8, a small one two for 2:

    >>> large = Pool("large", 10.0 * np.arange(1, 5), 8.0)
    >>> small = Pool("small", 2.0 * np.arange(1, 9), 2.0)
    >>> cheapest([large, small], 13.0).units
    (1, 2)
    """
    for pool in pools:
        if not pool.price_per_hour > 0:
            raise SettingError(f"price_per_hour of {pool.name}", pool.price_per_hour, "above 0")
    # the best value for money first: the bound bites soonest
    order = sorted(
        range(len(pools)),
        key=lambda i: pools[i].price_per_hour / max(float(pools[i].capacity_rps[-1]), MATCH)
        * pools[i].capacity_rps.size,
    )  # fmt: skip
    carried = [np.concatenate([[0.0], pools[i].capacity_rps]) for i in order]
    prices = [pools[i].price_per_hour for i in order]
    floors = [pools[i].least for i in order]
    rest = np.concatenate([np.cumsum([c[-1] for c in carried][::-1])[::-1], [0.0]])
    if rate_rps > rest[0] * (1 + MATCH):
        raise SettingError(
            "rate", rate_rps, f"all units together carry {rest[0]:.4g} requests/s",
            "allow more units of a type, or add a type",
        )  # fmt: skip
    # the least price of a request/s in the pools from i on: no completion is cheaper
    rates = [float(np.max(c[1:] / np.arange(1, c.size))) if c.size > 1 else 0.0 for c in carried]
    value = [
        min((p / r for p, r in zip(prices[i:], rates[i:], strict=True) if r > 0), default=np.inf)
        for i in range(len(order))
    ]
    best: tuple[float, float, tuple[int, ...]] = (np.inf, 0.0, ())

    def search(
        i: int, left_rps: float, price: float, counts: tuple[int, ...], sum_rps: float
    ) -> None:
        nonlocal best
        if i == len(order):
            if left_rps <= MATCH * rate_rps and (price, -sum_rps) < (best[0], -best[1]):
                best = (price, sum_rps, counts)
            return
        if left_rps > MATCH and price + left_rps * value[i] > best[0] * (1 + MATCH):
            return
        column = carried[i]
        enough = int(np.searchsorted(column, left_rps * (1 - MATCH)))
        top = max(min(enough, column.size - 1), floors[i])
        bottom = floors[i]
        if i + 1 == len(order):
            bottom = top
        for count in range(top, bottom - 1, -1):
            left = max(left_rps - float(column[count]), 0.0)
            if left > rest[i + 1] + MATCH * rate_rps:
                break
            search(
                i + 1, left, price + count * prices[i], (*counts, count),
                sum_rps + float(column[count]),
            )  # fmt: skip

    search(0, rate_rps, 0.0, (), 0.0)
    units = [0] * len(pools)
    for place, count in zip(order, best[2], strict=True):
        units[place] = count
    parts = [
        float(pool.capacity_rps[count - 1]) if count else 0.0
        for pool, count in zip(pools, units, strict=True)
    ]
    total = sum(parts)
    share = tuple(part / total if total > 0 else 0.0 for part in parts)
    return Mix(tuple(units), share, float(best[0]), total)
