"""One service's planner: demand in, tide table out; what it learns on the way is kept."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from forecaster.capacity.belief import Belief
from forecaster.config.settings import Settings
from forecaster.daemon.carrying import Carrying, Tables, price_s
from forecaster.daemon.error_budget import ErrorBudget
from forecaster.daemon.feed import DAY_S, DemandFeed
from forecaster.daemon.hindsight import Expected
from forecaster.daemon.learnt import Price, days_of, evidence_of, price_of, spent_by_day
from forecaster.daemon.present import PRESENT_STATES, in_place, paid_s
from forecaster.daemon.told import outside_told
from forecaster.daemon.trough import on_the_clock
from forecaster.daemon.witness import Witness
from forecaster.domain.demand import FloatArray
from forecaster.domain.errors import PendingError
from forecaster.domain.forecast import QuantileForecast
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.plan import TideTable
from forecaster.domain.pools import ONE_POOL, Pool
from forecaster.domain.profile import UnitType
from forecaster.domain.service import Limits, Pin, Service
from forecaster.domain.units import Fleet
from forecaster.planning.leads import lead_p90_s
from forecaster.planning.policy import Policy
from forecaster.planning.risk import expected_outside_rps
from forecaster.planning.tide import (
    Capacity,
    Outlook,
    Present,
    foresee,
    settle,
    tide_table,
)
from forecaster.store import Store

WEEK_S = 7 * DAY_S
SOON_S = 2 * 3600.0
"""For how long a plan that cannot be made anew says what is expected outside."""
DRAIN_S = 60.0
"""A drain is thought to take no longer, until it was seen."""


@dataclass(frozen=True, slots=True)
class Made:
    """A plan with what it was made from."""

    table: TideTable
    outlook: Outlook
    policy: Policy

    @property
    def forecast(self) -> QuantileForecast:
        """The forecast that was planned on."""
        return self.outlook.forecast


class Planner:
    """Plans one service.

    Parameters
    ----------
    service, unit : Service, UnitType
        What is planned, and on what.
    settings : Settings
        Planner and retrain settings.
    store : Store
        Demand and champions.
    tables : callable
        Sizing tables, see `carrying.Tables`.
    speed : float
        Clock seconds per real second.
    settle_s : float
        A slot may still receive records this long after its end.
    learnt : mapping
        What `learnt` returned before a restart.

    Attributes
    ----------
    leads, drains : list of float
        Measured lead times, and times that draining took, clock seconds, the newest last.
    pin : Pin or None
        Units set by hand.
    denied_s, denied : float, dict
        When capacity was refused last, and that of each type of several, epoch seconds.
    lag_s : float or None
        After a return: how old the log was when the last plan before it was made; None once it is no older now.
    """

    def __init__(
        self,
        service: Service,
        unit: UnitType,
        settings: Settings,
        *,
        store: Store,
        tables: Tables,
        speed: float = 1.0,
        settle_s: float = 0.0,
        learnt: Mapping[str, Any] | None = None,
    ) -> None:
        self.service, self.unit, self.settings = service, unit, settings
        self.speed, self.settle_s = speed, settle_s
        self.feed = DemandFeed(service, unit.profile, settings.retrain, store)
        self.carrying = Carrying(service, unit, tables, Belief(settings.planner.believed))
        self.witness = Witness(
            service, self.carrying, self.feed, tick_s=settings.planner.tick_s, speed=speed,
            told=lambda from_s, to_s: outside_told(store, service, from_s, to_s),
        )  # fmt: skip
        self.leads: list[float] = []
        self.drains: list[float] = []
        self.pin: Pin | None = None
        self.denied_s = -np.inf
        self.denied: dict[Pool, float] = {}
        self.lag_s: float | None = None
        self._price: Price | None = None
        self._rehearsal: tuple[tuple[int, float], tuple[FloatArray, FloatArray]] | None = None
        self.recall(learnt or {})

    def learnt(self) -> dict[str, object]:
        """What a restart should not forget, nor who leads next."""
        return {
            "evidence": list(self.carrying.belief.evidence),
            "budget": spent_by_day(self.budget.days),
            "reckoned": spent_by_day(self.budget.reckoned),
            "beside": spent_by_day(self.budget.beside),
            "asked": self.carrying.asked, "price": self._price and list(self._price),
        }  # fmt: skip

    def recall(self, learnt: Mapping[str, Any]) -> None:
        """Go on from what `learnt` returned, here or in another daemon."""
        self.budget.days = days_of(learnt.get("budget"))
        self.budget.reckoned = days_of(learnt.get("reckoned"))
        self.budget.beside = days_of(learnt.get("beside"))
        belief = Belief(self.settings.planner.believed, evidence_of(learnt.get("evidence")))
        self.carrying.belief = belief
        self.carrying.go_on(learnt.get("asked"))
        self._price = price_of(learnt.get("price"))
        self.witness.begin_again()

    def lead_s(self) -> float:
        """From an order to an answering unit, the measured p90, clock seconds."""
        return lead_p90_s(self.leads, self.unit.lead_time_s * self.speed)

    def handover_s(self) -> float:
        """Before a unit is wanted, its GPUs must be given back by others: lead, drain and a tick."""
        prior_s = min(self.unit.drain_deadline_s, DRAIN_S) * self.speed
        drain_s = lead_p90_s(self.drains, prior_s)
        return self.lead_s() + drain_s + self.settings.planner.tick_s

    def deny(self, pools: Collection[Pool], now_s: float) -> None:
        """Take note of the pools of an order that were refused capacity."""
        if pools:
            self.denied_s = now_s
        if self.unit.mixed is not None:
            self.denied |= dict.fromkeys(pools, now_s)

    @property
    def budget(self) -> ErrorBudget:
        """What is left of the error budget."""
        return self.witness.budget

    def _limits(self) -> Limits:
        """Those of the service, inside what its units are counted from and to."""
        split = self.carrying.split
        return self.service.limits.at_least(split.least_units).at_most(split.most_units)

    def policy(self, now_s: float, price_s: float) -> Policy:
        """The rules in force, at a price of a violation."""
        planner = self.settings.planner
        return Policy(
            limits=self._limits(),
            elasticity=self.service.elasticity,
            price_s=price_s,
            load_factor=self.budget.load_factor(self.feed.day_requests),
            lead_time_s=self.lead_s(),
            tick_s=planner.tick_s,
            drain_window_s=planner.drain_window_s,
            min_billing_s=self.unit.min_billing_s * self.speed,
            stale_s=planner.stale_s,
            silent_s=self._silent_s(),
            horizon_s=planner.horizon_s,
            timezone=self.service.calendar.timezone,
            windows=self.service.windows,
            pin=self.pin if self.pin is not None and now_s < self.pin.until_s else None,
            denied=now_s - self.denied_s < planner.stale_s,
            quota=self.service.quota,
            split=self.carrying.split if self.unit.pooled else ONE_POOL,
            denied_pools=tuple(
                p for p, at_s in self.denied.items() if now_s - at_s < planner.stale_s
            ),
        )

    def advance(self, until_s: float, now_s: float, *, obeyed: bool = True) -> None:
        """Take in the demand up to `until_s`, and what it says of the units that were ready.

        Parameters
        ----------
        obeyed : bool
            Whether what runs is what was planned.
        """
        self.witness.look_back(self.feed.advance(until_s), now_s, obeyed=obeyed)

    def plan(
        self, now_s: float, fleet: Fleet | None = None, nowcast_erl: float | None = None
    ) -> Made:
        """Make a tide table from what is known.

        Parameters
        ----------
        fleet : Fleet or None
            What runs now; None: as many units as this minute needs.
        nowcast_erl : float or None
            Load of this minute, where it broke the band.

        Raises
        ------
        ModelError
            Without a champion.
        PendingError
            While the first sizing table is being built.
        SloInfeasibleError
            When no number of units keeps the SLO.
        """
        feed = self.feed
        if feed.live is None:
            feed.reload(now_s)
        forecast = feed.forecast(WEEK_S, now_s, nowcast_erl=nowcast_erl)
        self.carrying.follow(feed.mix, feed.dispersion, forecast.seen_erl)
        capacity = self.carrying.capacity(
            float(forecast.offered_load_erl.max(initial=0.0)), self._least_units()
        )
        if capacity is None:
            raise PendingError(
                f"the sizing table of {self.service.name!r} is being built", "wait a few seconds"
            )
        if now_s - feed.data_until_s <= self._silent_s():
            self.lag_s = None
        policy = self.policy(now_s, self.price_s(capacity, forecast))
        soon = max(math.ceil(SOON_S / forecast.slot_s), 1)
        even, _ = expected_outside_rps(
            forecast.offered_load_erl[:soon] / capacity.work_s, forecast.levels, capacity.grid
        )
        self.witness.expected = Expected(forecast.start_s, forecast.slot_s, even)
        if fleet is None:
            present = in_place(tide_table(forecast, capacity, policy, Present(0)))
        else:
            paid = paid_s(fleet, policy.min_billing_s, now_s)
            waits = on_the_clock(fleet.backlog, self.speed)
            present = Present(self.whole(fleet, *PRESENT_STATES), paid, waits)
        outlook = foresee(forecast, capacity, policy, present, feed.data_until_s)
        return Made(settle(outlook, policy), outlook, policy)

    def price_s(self, capacity: Capacity, forecast: QuantileForecast) -> float:
        """Unit-seconds that a request outside is worth; kept until table or champion change."""
        slots = round(self.lead_s() / forecast.slot_s)
        key = f"{self.feed.model_id} {slots} {self.carrying.version}"
        if self._price is None or self._price[0] != key:
            day = round(DAY_S / forecast.slot_s)
            allowed = 1.0 - self.service.slo.attainment
            price = price_s(
                capacity, self._rehearsed(), forecast.offered_load_erl, allowed, day,
                self.service.limits.step_units,
            )  # fmt: skip
            self._price = (key, price)
        return self._price[1]

    def _rehearsed(self) -> tuple[FloatArray, FloatArray]:
        """Verified forecasts of the days before at today's lead; made again with each champion."""
        slot_s = self.feed.row.slot_s if self.feed.row else DAY_S
        lead_s = self.lead_s() // slot_s * slot_s
        key = (self.feed.model_id, lead_s)
        if self._rehearsal is None or self._rehearsal[0] != key:
            self._rehearsal = (key, self.feed.rehearse(lead_s))
        return self._rehearsal[1]

    def whole(self, fleet: Fleet, *states: UnitState) -> int:
        """Units of the fleet that those in these states make up: half a pair serves nobody."""
        return self.carrying.split.whole(fleet.by_pool(*states))

    def _silent_s(self) -> float:
        """A tier that reports every request is silent sooner than a log that is brought by hand.

        After a return it is behind until it is no older than it was before.
        """
        stale_s, lag_s = self.settings.planner.stale_s, 0.0 if self.witness.fed else self.lag_s
        if lag_s is None or self.feed.row is None:
            return stale_s
        return min(stale_s, self.settle_s + 2 * self.feed.row.slot_s + lag_s)

    def _least_units(self) -> int:
        """Units that must be thinkable: floors and pins."""
        floors = [each.min_units or 0 for each in self.service.windows]
        pinned = self.pin.units if self.pin else 0
        return max(self.service.limits.min_units, pinned, *floors, self.carrying.split.least_units)
