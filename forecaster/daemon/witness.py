"""What one service's requests teach while it runs: the budget that is left, what units truly carry, the load of now."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from forecaster.daemon.carrying import Carrying
from forecaster.daemon.error_budget import ErrorBudget
from forecaster.daemon.feed import DemandFeed
from forecaster.daemon.hindsight import NOTHING, Closed, Expected, Hindsight, reckoned, seen_again
from forecaster.daemon.trough import batch_work_s
from forecaster.daemon.watching import Arrivals, Evidence, Stretch
from forecaster.domain.forecast import QuantileForecast
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.profile import Profile
from forecaster.domain.reported import Reported
from forecaster.domain.service import Service
from forecaster.domain.units import Fleet, RequestRecord
from forecaster.planning.deferred import spare_erl
from forecaster.planning.guard import WINDOW_S, breached
from forecaster.planning.tide import BUSY_LEVEL

HIGH_LEVEL = 0.99
"""Quantile of the load that the guard holds arrivals against."""


class Witness:
    """Sees the requests of one service, single ones as a tier of ours logs them, or slots that closed.

    Parameters
    ----------
    carrying, feed
        What units carry, and what a request weighs.
    tick_s, speed : float
        Seconds between two ticks; clock seconds per real second.
    told : callable
        What others say of their own answers in a range.

    Attributes
    ----------
    budget : ErrorBudget
        What was spent.
    expected : Expected
        What the plan in force expects outside the SLO.
    fed : bool
        A tier tells of every request.
    """

    def __init__(
        self,
        service: Service,
        carrying: Carrying,
        feed: DemandFeed,
        *,
        tick_s: float,
        speed: float,
        told: Callable[[float, float], Reported],
    ) -> None:
        self.service, self.carrying, self.feed = service, carrying, feed
        self._tick_s, self._speed, self._told = tick_s, speed, told
        self.budget = ErrorBudget(service.slo)
        self.expected: Expected = NOTHING
        self.fed = False
        self._hindsight = Hindsight(tick_s)
        self.begin_again()

    def begin_again(self) -> None:
        """Forget what is not whole yet: another daemon watched meanwhile."""
        self._arrivals, self._evidence = Arrivals(), Evidence()

    def watch(
        self,
        records: Sequence[RequestRecord],
        fleet: Fleet,
        now_s: float,
        seconds: float,
        *,
        obeyed: bool = True,
    ) -> None:
        """Learn from the requests of one tick: budget, belief, arrivals.

        Parameters
        ----------
        records : sequence of RequestRecord
            Requests of this service that ended in the tick.
        seconds : float
            Since the last tick.
        obeyed : bool
            Whether what runs is what was planned: else it says what units carry, and nothing of the plan.
        """
        ready = self._ready(fleet)
        batch_s = self._batch_s(records)
        records = [each for each in records if not each.batch]
        self.fed = self.fed or bool(records)
        in_flight = sum(unit.in_flight for unit in fleet.units) - fleet.batch_in_flight
        arrivals = self._arrivals.add(seconds, len(records), in_flight)
        if self.fed:
            share = seconds * self.service.log_sample
            foreseen = self.expected.outside_rps(ready, now_s) * share
            outside, counted = self.budget.add(records, now_s, foreseen, obeyed=obeyed)
            self._prove(Stretch(ready, seconds, arrivals, outside, counted, batch_s))

    def note(self, fleet: Fleet, now_s: float) -> None:
        """Remember what is ready now, for when it is known what came."""
        ready = self._ready(fleet)
        self._hindsight.note(now_s, ready, self.expected.outside_rps(ready, now_s))

    def look_back(self, closed: Closed, now_s: float, *, obeyed: bool = True) -> None:
        """Judge slots that closed, where no tier of ours tells of every request.

        What others say of their own answers counts as if we had seen them; of what nobody measured
        the sizing table says how much was outside with the units that were ready.

        Parameters
        ----------
        obeyed : bool
            See `watch`.
        """
        table = self.carrying.believed()
        if table is not None and closed.load.size and not self.fed:
            sample, work_s = self.service.log_sample, self.feed.unit_work_s
            said = self._told(closed.start_s, closed.end_s)
            for slot in seen_again(closed, self._hindsight, said):
                if slot.counted:
                    self.budget.measure(slot.measured(sample), now_s, obeyed=obeyed)
                    arrivals = slot.load * sample
                    self._prove(
                        Stretch(slot.ready, slot.seconds, arrivals, slot.outside, slot.counted)
                    )
                elif obeyed:
                    rate_rps = slot.load / slot.seconds * work_s / self.carrying.work_s
                    self.budget.reckon(reckoned(table, slot, rate_rps) * sample, now_s)
        self._hindsight.forget(closed.end_s)

    def breach_erl(self, forecast: QuantileForecast | None, now_s: float) -> float | None:
        """Load of the last minute where the band does not allow for it, erlangs; else None."""
        window_s, count = self._arrivals.seconds, self._arrivals.count
        if forecast is None or window_s < min(WINDOW_S, self._tick_s):
            return None
        high = forecast.at_level(HIGH_LEVEL)[forecast.row_at(now_s)]
        sample = self.service.log_sample
        if not breached(count, window_s, float(high) * sample, self.feed.dispersion):
            return None
        return self._load_erl(count, window_s)

    def spare_erl(
        self, fleet: Fleet, forecast: QuantileForecast | None, now_s: float
    ) -> float | None:
        """Busy units' worth of batch work that fits now beside what is forecast and what came; None: unknown."""
        curve = self.carrying.believed()
        if forecast is None or curve is None:
            return None
        ready = min(self._ready(fleet), curve.max_units)
        seconds = self._arrivals.seconds
        seen_erl = self._load_erl(self._arrivals.count, seconds) if seconds > 0 else 0.0
        busy_erl = float(forecast.load_at_level(BUSY_LEVEL)[forecast.row_at(now_s)])
        carried_erl = np.array([curve.capacity_rps(ready) * self.carrying.work_s])
        return float(spare_erl(carried_erl, np.array([max(busy_erl, seen_erl)]))[0])

    def _prove(self, tick: Stretch) -> None:
        """Hold the table to what was seen, as soon as it is a few hundred requests."""
        seen = self._evidence.add(tick)
        if seen is not None:
            load_erl = self._load_erl(seen.arrivals, seen.seconds) + seen.batch_s / seen.seconds
            self.carrying.learn(seen.ready, load_erl, seen.counted, seen.outside, seen.seconds)

    def _batch_s(self, records: Sequence[RequestRecord]) -> float:
        profile: Profile = self.carrying.unit.profile
        return batch_work_s(records, profile) * self._speed

    def _ready(self, fleet: Fleet) -> int:
        return self.carrying.split.whole(fleet.by_pool(UnitState.READY))

    def _load_erl(self, arrivals: float, seconds: float) -> float:
        return arrivals / self.service.log_sample / seconds * self.feed.unit_work_s
