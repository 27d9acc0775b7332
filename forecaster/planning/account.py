"""Accounts: bill, SLO and rivals of one range, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from forecaster.domain.books import BOOK_S, FLEET, BookEntry
from forecaster.domain.money import Tariff
from forecaster.planning.billing import HOUR_S, Bill, bills, tariff_at, total
from forecaster.planning.ledger import Life


@dataclass(frozen=True, slots=True)
class Kept:
    """What was kept of the SLO.

    Attributes
    ----------
    requests, outside, refused : int
        Requests that count, those outside the SLO (refused ones are), those refused.
    allowed_share : float
        1 - attainment target.
    """

    requests: int
    outside: int
    refused: int
    allowed_share: float

    @property
    def attainment(self) -> float:
        """Share of the requests inside the SLO; NaN without any."""
        return 1 - self.outside / self.requests if self.requests else math.nan

    @property
    def budget(self) -> float:
        """Requests that may be outside: the error budget."""
        return self.allowed_share * self.requests

    @property
    def budget_left_share(self) -> float:
        """Share of the error budget that is unspent; below 0 it is overspent, NaN without requests."""
        return 1 - self.outside / self.budget if self.requests else math.nan


@dataclass(frozen=True, slots=True)
class Compared:
    """One policy against what the fleet did in the same entries of the books.

    Attributes
    ----------
    seconds : float
        Time that is compared.
    unit_s, money, outside : float
        Of the policy: unit-seconds ready and warming, their price, requests expected outside.
    fleet_unit_s, fleet_money, fleet_outside : float
        The same of the real fleet.
    arrivals : float
        Requests of that time.
    """

    seconds: float
    unit_s: float
    money: float
    outside: float
    fleet_unit_s: float
    fleet_money: float
    fleet_outside: float
    arrivals: float

    @property
    def saved_money(self) -> float:
        """What the policy would have cost beyond the fleet: above 0, the fleet is cheaper."""
        return self.money - self.fleet_money

    @property
    def saved_share(self) -> float:
        """Share of the policy's unit-seconds that the fleet did without; NaN where it held none."""
        return 1 - self.fleet_unit_s / self.unit_s if self.unit_s > 0 else math.nan

    @property
    def attainment(self) -> float:
        """Share inside the SLO that the table expects of the policy; NaN without arrivals."""
        return 1 - self.outside / self.arrivals if self.arrivals > 0 else math.nan

    @property
    def fleet_attainment(self) -> float:
        """Share inside the SLO that the table expects of the fleet; NaN without arrivals."""
        return 1 - self.fleet_outside / self.arrivals if self.arrivals > 0 else math.nan


@dataclass(frozen=True, slots=True)
class Account:
    """One range of one service.

    Attributes
    ----------
    by_unit : mapping of str to Bill
        The bill of each unit type.
    kept : Kept
        What was kept of the SLO.
    rivals : mapping of str to Compared
        What each policy would have held.
    """

    from_s: float
    to_s: float
    by_unit: Mapping[str, Bill]
    kept: Kept
    rivals: Mapping[str, Compared]

    @property
    def bill(self) -> Bill:
        """All unit types together."""
        return total(self.by_unit)


def accounts(
    units: Sequence[Life],
    tariffs: Sequence[Tariff],
    entries: Sequence[BookEntry],
    edges_s: Sequence[float],
    allowed_share: float,
) -> list[Account]:
    """An account for each range between consecutive edges.

    Parameters
    ----------
    units, tariffs
        See `billing.bills`.
    entries : sequence of BookEntry
        An entry belongs to the range in which it starts.
    edges_s : sequence of float
        Rising, epoch seconds.
    allowed_share : float
        1 - attainment target.
    """
    found = []
    by_range = bills(units, tariffs, edges_s)
    for by_unit, from_s, to_s in zip(by_range, edges_s, edges_s[1:], strict=False):
        own = [entry for entry in entries if from_s <= entry.start_s < to_s]
        kept = Kept(
            sum(entry.requests for entry in own), sum(entry.outside for entry in own),
            sum(entry.refused for entry in own), allowed_share,
        )  # fmt: skip
        found.append(Account(from_s, to_s, by_unit, kept, compared(own, tariffs)))
    return found


def compared(entries: Sequence[BookEntry], tariffs: Sequence[Tariff]) -> dict[str, Compared]:
    """Every policy of the books against the fleet, over the entries that have both."""
    names = dict.fromkeys(name for entry in entries for name in entry.held if name != FLEET)
    return {name: _against_fleet(name, entries, tariffs) for name in names}


def day_edges(timezone: str, from_s: float, to_s: float) -> list[float]:
    """`from_s`, every local midnight between, `to_s`: the days of a range, in the service's zone.

    Examples
    --------
    The night in which Berlin's clocks go forward is an hour shorter:

    >>> edges = day_edges("Europe/Berlin", 1774652400.0, 1774821600.0)
    >>> [(b - a) / 3600 for a, b in zip(edges, edges[1:])]
    [24.0, 23.0]
    """
    zone = ZoneInfo(timezone)
    edges, day = [from_s], datetime.fromtimestamp(from_s, zone).date()
    while True:
        day += timedelta(days=1)
        midnight_s = datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
        if midnight_s >= to_s:
            return [*edges, to_s] if to_s > from_s else edges
        edges.append(midnight_s)


def month_range(year: int, month: int, timezone: str) -> tuple[float, float]:
    """Beginning and end of a month in a time zone, epoch seconds."""
    zone = ZoneInfo(timezone)
    after = (year + month // 12, month % 12 + 1)
    begin, end = (datetime(y, m, 1, tzinfo=zone) for y, m in ((year, month), after))
    return begin.timestamp(), end.timestamp()


def _against_fleet(name: str, entries: Sequence[BookEntry], tariffs: Sequence[Tariff]) -> Compared:
    both = [entry for entry in entries if name in entry.held and FLEET in entry.held]
    sums = [0.0] * 8
    for entry in both:
        policy, fleet = entry.held[name], entry.held[FLEET]
        hour_price = tariff_at(tariffs, entry.start_s).price_per_hour
        row = (
            BOOK_S, policy.unit_s, policy.unit_s / HOUR_S * hour_price, policy.outside,
            fleet.unit_s, fleet.unit_s / HOUR_S * hour_price, fleet.outside, entry.arrivals,
        )  # fmt: skip
        sums = [a + b for a, b in zip(sums, row, strict=True)]
    return Compared(*sums)
