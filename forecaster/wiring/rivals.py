"""Rival policies kept running beside: the replay's own rules, on the demand as it is stored.

Each rival runs with the least setting of its knob that would have kept the target over the week
before, by the sizing table; the knob is set once a day and never sees the day that it is used on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from forecaster.capacity.sizing_table import SizingTable
from forecaster.daemon.bookkeeper import Asked
from forecaster.demand.work import slot_work_s
from forecaster.domain.books import BOOK_S, FLEET, SHADOW, BookEntry, Held
from forecaster.domain.demand import SLOT_S, FloatArray, IntArray
from forecaster.planning.ledger import Life, lives, unit_seconds
from forecaster.replay import rules
from forecaster.replay.contest import KNOBS
from forecaster.replay.match import foreseen_knob
from forecaster.replay.scene import FINE_S, TICK_S, Loads, Sight
from forecaster.store import Store

DAY_S = 86_400.0
TUNED_DAYS = 7
"""Days over which a knob is matched, at most; before them the seasonal naive wants as many again."""
LEAST_DAYS = 1
"""With less demand before a day there is nothing to match a knob on: no rivals yet."""
RUN_UP_S = 2 * 3600.0
"""Rules with a memory run for so long before what counts."""
PER_ENTRY = round(BOOK_S / TICK_S)
PER_TICK = round(TICK_S / FINE_S)

Rule = Callable[[Sight, float], IntArray]
RULES: dict[str, Rule] = {"hpa": rules.hpa, "seasonal-naive": rules.seasonal_naive}
STATIC_PEAK = "static-peak"


@dataclass(frozen=True, slots=True)
class Tuned:
    """The rivals' settings of one day.

    Attributes
    ----------
    day_s : float
        Its midnight, UTC.
    peak_units : int
        The static peak's fleet.
    knobs : dict of str to float
        By rule.
    known_days : float
        Demand that the rules knew before the days they were matched on.
    """

    day_s: float
    peak_units: int
    knobs: dict[str, float]
    known_days: float


class ReplayRivals:
    """`bookkeeper.Rivals` by the replay's rules."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._tuned: dict[str, Tuned] = {}

    def __call__(self, asked: Asked) -> list[BookEntry]:
        """One entry for each quarter of an hour, with what every policy would have held.

        A range that spans midnight is played day by day: each day has knobs of its own.
        """
        found: list[BookEntry] = []
        begin_s = asked.from_s
        while begin_s < asked.to_s:
            end_s = min(asked.to_s, (begin_s // DAY_S + 1) * DAY_S)
            found += self._within_a_day(asked, begin_s, end_s)
            begin_s = end_s
        return found

    def _within_a_day(self, asked: Asked, from_s: float, to_s: float) -> list[BookEntry]:
        run_up_s = RUN_UP_S + np.ceil(asked.lead_s / TICK_S) * TICK_S
        tuned = self._tune(asked, from_s // DAY_S * DAY_S)
        # a rule knows as much as when it was matched: the naive's season is the same
        known_days = min(tuned.known_days, TUNED_DAYS) if tuned else 0.0
        sight, arrivals = self._sight(
            asked, from_s - run_up_s, from_s - run_up_s - known_days * DAY_S, to_s
        )
        count = round((to_s - from_s) / TICK_S)
        court = _Court(sight, asked.table, count, arrivals[-count:])
        plans: dict[str, IntArray] = {}
        if tuned is not None:
            plans[STATIC_PEAK] = np.full(sight.ticks, tuned.peak_units)
            plans |= {name: rule(sight, tuned.knobs[name]) for name, rule in RULES.items()}
        aims = self.store.books.aims(asked.service.name, sight.start_s, to_s)
        if aims and aims[0][0] <= from_s + BOOK_S:
            plans[SHADOW] = _steps(aims, sight)
        held = {name: court.plan(plan) for name, plan in plans.items()}
        if held:
            held[FLEET] = court.fleet(
                lives(self.store.books.life_events(asked.service.name, from_s, to_s)), from_s
            )
        return [
            BookEntry(
                from_s + i * BOOK_S,
                arrivals=float(court.arrivals[i * PER_ENTRY : (i + 1) * PER_ENTRY].sum()),
                held={name: rows[i] for name, rows in held.items()},
            )
            for i in range(round((to_s - from_s) / BOOK_S))
        ]

    def _tune(self, asked: Asked, day_s: float) -> Tuned | None:
        """The knobs of a day, from the days before it; None where there are too few."""
        known = self._tuned.get(asked.service.name)
        if known is not None and known.day_s == day_s:
            return known
        sums = self.store.slots(asked.service.name, day_s - 2 * TUNED_DAYS * DAY_S, day_s)
        if not sums.start_s.size or day_s - float(sums.start_s[0]) < LEAST_DAYS * DAY_S:
            return None
        first_s = float(sums.start_s[0]) // DAY_S * DAY_S
        days = min(TUNED_DAYS, max((day_s - first_s) // DAY_S - 1, LEAST_DAYS))
        sight, requests = self._sight(asked, day_s - days * DAY_S, first_s, day_s)
        knobs = {
            name: foreseen_knob(partial(rule, sight), sight, requests, *KNOBS, _allowed(asked))
            for name, rule in (RULES | {STATIC_PEAK: rules.static_peak}).items()
        }
        peak = int(rules.static_peak(sight, knobs.pop(STATIC_PEAK))[0])
        found = Tuned(day_s, peak, knobs, sight.first * TICK_S / DAY_S)
        self._tuned[asked.service.name] = found
        return found

    def _sight(
        self, asked: Asked, scored_s: float, known_s: float, to_s: float
    ) -> tuple[Sight, FloatArray]:
        """Stored demand from `known_s` on, played from `scored_s` on; requests of each minute then."""
        known_s = known_s // DAY_S * DAY_S
        sums = self.store.slots(asked.service.name, known_s, to_s)
        if sums.start_s.size:  # what lies before the first request is not a lull
            first_s = float(sums.start_s[0]) // DAY_S * DAY_S
            known_s = min(max(known_s, first_s), scored_s // DAY_S * DAY_S)
        minutes = round((to_s - known_s) / SLOT_S)
        at = ((sums.start_s - known_s) // SLOT_S).astype(np.int64)
        share = asked.service.log_sample
        work = slot_work_s(sums, asked.unit.profile) / share
        work_erl = np.bincount(at, work, minlength=minutes) / SLOT_S
        logged = np.bincount(at, sums.arrivals, minlength=minutes).astype(np.float64)
        if share < 1:  # minutes of a thinned log are noise: their trailing mean is the load
            work_erl = _trailing(work_erl, PER_ENTRY)
        # arrivals as logged: what silence is, is judged by them
        loads = Loads(
            known_s, np.repeat(work_erl, PER_TICK), np.repeat(logged / PER_TICK, PER_TICK)
        )
        first = round((scored_s - known_s) / TICK_S) // 5 * 5
        sight = Sight(
            loads, first, minutes - first, asked.table, asked.work_s, asked.lead_s,
            asked.service.limits.at_least(asked.table.split.least_units),
        )  # fmt: skip
        return sight, logged[first:] / share


@dataclass(frozen=True, slots=True)
class _Court:
    """Judges fleets on the last `count` minutes of a sight, all by the same table."""

    sight: Sight
    table: SizingTable
    count: int
    arrivals: FloatArray

    def plan(self, plan: IntArray) -> list[Held]:
        """Entries of a plan whose orders are carried out a lead later."""
        done = self.sight.carried_out(plan)
        ready = done.ready[-self.count :]
        warming = plan[-self.count :] - ready
        return self._entries(ready.astype(np.float64), warming.astype(np.float64))

    def fleet(self, units: Sequence[Life], from_s: float) -> list[Held]:
        """Entries of what the fleet really did."""
        edges = from_s + TICK_S * np.arange(self.count + 1, dtype=np.float64)
        lived = unit_seconds(units, edges)
        return self._entries(
            lived["ready"] / TICK_S, (lived["ordered"] + lived["warming"]) / TICK_S
        )

    def _entries(self, ready: FloatArray, warming: FloatArray) -> list[Held]:
        rate_rps = self.sight.actual_erl[-self.count :] / self.sight.work_s
        share = self.table.violation_share(np.rint(ready).astype(np.int64), rate_rps)
        columns = (ready * TICK_S, warming * TICK_S, share * self.arrivals)
        sums = (each.reshape(-1, PER_ENTRY).sum(axis=1).tolist() for each in columns)
        return [Held(*row) for row in zip(*sums, strict=True)]


def _allowed(asked: Asked) -> float:
    return 1.0 - asked.service.slo.attainment


def _steps(aims: Sequence[tuple[float, int]], sight: Sight) -> IntArray:
    """Units aimed at in each tick."""
    times = np.array([at_s for at_s, _ in aims])
    units = np.array([units for _, units in aims], np.int64)
    ticks = sight.start_s + TICK_S * np.arange(sight.ticks)
    return np.asarray(units[np.maximum(np.searchsorted(times, ticks, side="right") - 1, 0)])


def _trailing(values: FloatArray, ticks: int) -> FloatArray:
    """Mean of each value and those before it, `ticks` of them."""
    total = np.cumsum(np.concatenate([np.zeros(ticks), values]))
    seen = np.minimum(np.arange(1, values.size + 1), ticks)
    return np.asarray((total[ticks:] - total[:-ticks]) / seen)
