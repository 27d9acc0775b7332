"""The error budget by day: what was measured of the requests, and what is reckoned where nobody measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forecaster.daemon.live import Outcome, outcome_of
from forecaster.domain.service import Slo
from forecaster.domain.units import RequestRecord
from forecaster.planning.budget import load_factor

DAY_S = 86_400.0
BUDGET_DAYS = 7
"""Days over which the error budget is counted."""


@dataclass(frozen=True, slots=True)
class Spent:
    """One day of the error budget.

    Attributes
    ----------
    outside, requests : float
        Requests outside the SLO, and all that count.
    foreseen : float
        Requests outside that were expected with the units that were ready.
    """

    outside: float = 0
    requests: float = 0
    foreseen: float = 0.0

    @property
    def attainment(self) -> float:
        """Share of the requests inside the SLO; NaN without any."""
        return 1.0 - self.outside / self.requests if self.requests else math.nan

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.outside + other.outside,
            self.requests + other.requests,
            self.foreseen + other.foreseen,
        )

    def __mul__(self, share: float) -> Spent:
        return Spent(self.outside * share, self.requests * share, self.foreseen * share)


class ErrorBudget:
    """Requests inside and outside the SLO by day: what was spent of the error budget.

    Parameters
    ----------
    slo : Slo
        Its attainment is the target.
    days : mapping of int to Spent
        What was measured so far, by day number.
    beside : mapping of int to Spent
        What was measured while others held the units: it is shown, and does not steer.
    reckoned : mapping of int to Spent
        What the sizing table says of requests whose times nobody measured: it steers as well, and is never
        shown as kept.
    """

    def __init__(
        self,
        slo: Slo,
        days: Mapping[int, Spent] | None = None,
        reckoned: Mapping[int, Spent] | None = None,
        beside: Mapping[int, Spent] | None = None,
    ) -> None:
        self.slo = slo
        self.days, self.reckoned = dict(days or {}), dict(reckoned or {})
        self.beside = dict(beside or {})

    def add(
        self,
        records: Sequence[RequestRecord],
        now_s: float,
        foreseen: float = 0.0,
        *,
        obeyed: bool = True,
    ) -> tuple[int, int]:
        """Count records; return how many were outside, and all that count.

        Parameters
        ----------
        foreseen : float
            Requests outside that were expected meanwhile.
        obeyed : bool
            Whether what ran is what was planned.
        """
        outside = total = 0
        for record in records:
            outcome = outcome_of(record, self.slo)
            if outcome is not Outcome.NOT_OURS:
                total += 1
                outside += outcome is not Outcome.INSIDE
        self.measure(Spent(outside, total, foreseen), now_s, obeyed=obeyed)
        return outside, total

    def measure(self, spent: Spent, now_s: float, *, obeyed: bool = True) -> None:
        """Count requests whose times were measured; see `add`."""
        self._count(self.days if obeyed else self.beside, spent, now_s)

    def reckon(self, spent: Spent, now_s: float) -> None:
        """Count requests whose times nobody measured."""
        self._count(self.reckoned, spent, now_s)

    @property
    def kept(self) -> Spent:
        """All that was measured in the budget's days."""
        return sum((*self.days.values(), *self.beside.values()), Spent())

    def load_factor(self, day_requests: float) -> float:
        """Times the forecast load that is planned for, see `planning.budget`."""
        spent = sum((*self.days.values(), *self.reckoned.values()), Spent())
        day = max(day_requests, spent.requests / BUDGET_DAYS)
        allowed = 1.0 - self.slo.attainment
        return load_factor(spent.outside, spent.requests, spent.foreseen, allowed, day)

    def _count(self, days: dict[int, Spent], spent: Spent, now_s: float) -> None:
        today = int(now_s // DAY_S)
        days[today] = days.get(today, Spent()) + spent
        for each in (self.days, self.reckoned, self.beside):
            for day in [day for day in each if day <= today - BUDGET_DAYS]:
                del each[day]
