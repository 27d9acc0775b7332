"""The bill: unit-seconds by state and unit type, with what is billed and not used, in money."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from forecaster.domain.money import Tariff
from forecaster.domain.pools import Pool
from forecaster.planning.ledger import Life, unit_seconds

HOUR_S = 3600.0
WHOLE = 1e-6
"""A life this much over a whole step, seconds, is that step: clocks are no finer."""


@dataclass(frozen=True, slots=True)
class Bill:
    """What units of one type, or of all, cost in a range.

    Attributes
    ----------
    ordered_s, warming_s, ready_s, draining_s : float
        Unit-seconds; their sum is what the units lived in the range.
    unused_s : float
        Unit-seconds billed after the end of a unit: minimum time and step.
    money : float
        Lived and unused seconds at the price of each unit's own tariff.
    """

    ordered_s: float = 0.0
    warming_s: float = 0.0
    ready_s: float = 0.0
    draining_s: float = 0.0
    unused_s: float = 0.0
    money: float = 0.0

    @property
    def lived_s(self) -> float:
        """Unit-seconds from order to end."""
        return self.ordered_s + self.warming_s + self.ready_s + self.draining_s

    @property
    def billed_s(self) -> float:
        """Unit-seconds that are paid for."""
        return self.lived_s + self.unused_s

    def __add__(self, other: Bill) -> Bill:
        return Bill(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Bill)))


def billed_s(life_s: float, tariff: Tariff) -> float:
    """Seconds billed for a unit that lived `life_s`.

    Examples
    --------
    Ten minutes at least, then by the minute:

    >>> tariff = Tariff("h100", 4.0, min_billing_s=600.0, billing_step_s=60.0)
    >>> billed_s(30.0, tariff), billed_s(601.0, tariff), billed_s(660.0, tariff)
    (600.0, 660.0, 660.0)
    """
    step_s = tariff.billing_step_s
    stepped = math.ceil((life_s - WHOLE) / step_s) * step_s if step_s > 0 else life_s
    return max(stepped, life_s, tariff.min_billing_s)


def tariff_at(tariffs: Sequence[Tariff], born_s: float, pool: Pool = Pool.WHOLE) -> Tariff:
    """The tariff under which a unit was ordered: the first one counts for all before it.

    Parameters
    ----------
    tariffs : sequence of Tariff
        At least one, by `since_s`.
    pool : Pool
        Whose units; where it has no tariff of its own, that of the service's units counts.
    """
    own = [each for each in tariffs if each.pool == pool]
    tariffs = own or [each for each in tariffs if each.pool == Pool.WHOLE] or tariffs
    return tariffs[max(bisect_right([each.since_s for each in tariffs], born_s) - 1, 0)]


def bills(
    units: Sequence[Life], tariffs: Sequence[Tariff], edges_s: Sequence[float]
) -> list[Mapping[str, Bill]]:
    """The bill of each range between consecutive edges, by unit type.

    What a unit is billed lies on the time axis, from its order on: the bills of neighbouring ranges add
    up to the bill of both.

    Parameters
    ----------
    units : sequence of Life
        Every unit whose life, or the tail that is billed after it, reaches into the range.
    tariffs : sequence of Tariff
        At least one, by `since_s`.
    edges_s : sequence of float
        Rising, epoch seconds.
    """
    edges = np.asarray(edges_s, np.float64)
    by_tariff: dict[Tariff, list[Life]] = {}
    for life in units:
        by_tariff.setdefault(tariff_at(tariffs, life.born_s, life.pool), []).append(life)
    found: list[dict[str, Bill]] = [{} for _ in edges[1:]]
    for tariff, own in by_tariff.items():
        lived = unit_seconds(own, edges)
        unused = np.zeros(edges.size - 1)
        for life in own:
            if math.isfinite(life.ended_s):
                until_s = life.born_s + billed_s(life.ended_s - life.born_s, tariff)
                unused += np.diff(np.clip(edges, life.ended_s, until_s))
        total = unused + sum(lived.values())
        for i, here in enumerate(found):
            if total[i] > 0:
                money = float(total[i]) / HOUR_S * tariff.price_per_hour
                seconds = {f"{state}_s": float(lived[state][i]) for state in lived}
                made = Bill(**seconds, unused_s=float(unused[i]), money=money)
                here[tariff.unit] = here.get(tariff.unit, Bill()) + made
    return list(found)


def bill(
    units: Sequence[Life], tariffs: Sequence[Tariff], from_s: float, to_s: float
) -> Mapping[str, Bill]:
    """The bill of one range, by unit type; see `bills`."""
    return bills(units, tariffs, (from_s, to_s))[0]


def total(by_unit: Mapping[str, Bill]) -> Bill:
    """All unit types together."""
    return sum(by_unit.values(), Bill())
