"""Known events: when they are, what the last ones did, and how sure that is.

Slots of an event teach neither season nor calibration. Its effect is a factor on the season, one for
each of the time before, during and after, learnt as the ratio of what came to the same hours of other
weeks; the configured factor stands in until an occurrence was seen. The band is widened by what is
not known of the factor. Holidays of which few were seen widen the band as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.domain.service import CalendarSpec, Event, Every
from forecaster.seasonal.calendar import HOLIDAY, Calendar, zone
from forecaster.seasonal.member import DAY_S, WEEK_S, BoolArray, SlotArray, fill_season

PHASES = 3
"""Before, during, after."""
PRIOR_WEIGHT = 0.25
"""Occurrences that the configured factor counts as."""
UNSEEN, UNSEEN_LEAST = 0.5, 0.2
"""Standard deviation of a log factor that was never seen: a share of it, and at least this."""
SEEN, SEEN_LEAST = 0.25, 0.08
"""The same of occurrence against occurrence, until several tell."""
HOLIDAY_DEVIATION = 0.3
"""Standard deviation of a holiday of a kind never seen, on the log scale."""
MOST_OCCURRENCES = 1000


def occurrences(
    event: Event, timezone: str, from_s: float, to_s: float
) -> Iterator[tuple[float, float]]:
    """(start, end) of the occurrences whose windows touch ``[from_s, to_s)``, epoch seconds.

    A weekly, monthly or yearly event keeps its local time over clock changes; a month without its day
    has none.

    Examples
    --------
    >>> event = Event("sale", 0.0, 3600.0, every=Every.WEEK)
    >>> list(occurrences(event, "UTC", 604_800.0, 1_209_601.0))
    [(604800.0, 608400.0), (1209600.0, 1213200.0)]
    """
    long_s = event.end_s - event.start_s
    first = datetime.fromtimestamp(event.start_s, zone(timezone))
    for number in range(MOST_OCCURRENCES):
        start = _again(first, event.every, number)
        if start is None:
            continue
        start_s = start.timestamp()
        if start_s > event.until_s or start_s - event.before_s >= to_s:
            return
        if start_s + long_s + event.after_s > from_s:
            yield start_s, start_s + long_s
        if event.every is Every.ONCE:
            return


def _again(first: datetime, every: Every, number: int) -> datetime | None:
    if every is Every.WEEK:
        return first + timedelta(weeks=number)
    months = number * {Every.ONCE: 0, Every.MONTH: 1, Every.YEAR: 12}[every]
    year, month = divmod(first.month - 1 + months, 12)
    try:
        return first.replace(year=first.year + year, month=month + 1)
    except ValueError:
        return None


def known_events(spec: CalendarSpec, from_s: float, to_s: float) -> list[tuple[str, float, float]]:
    """(name, start, end) of every occurrence that touches a range, windows around it not counted."""
    return [
        (event.name, start_s, end_s)
        for event in spec.events
        for start_s, end_s in occurrences(event, spec.timezone, from_s, to_s)
    ]


def event_slots(calendar: Calendar, slots: SlotArray) -> BoolArray:
    """Which slots belong to an event or to the windows around it."""
    return _phases(calendar, slots)[1] >= 0


def _phases(calendar: Calendar, slots: SlotArray) -> tuple[SlotArray, SlotArray, SlotArray]:
    """Event (its index in the spec), phase and occurrence of each slot; -1 where there is none.

    Where windows overlap, an event itself counts before the time around another.
    """
    spec = calendar.spec
    which, phase, turn = (np.full(slots.size, -1, dtype=np.int64) for _ in range(3))
    if not spec.events or not slots.size:
        return which, phase, turn
    at = calendar.epoch_s(slots)
    number = 0
    for index, event in enumerate(spec.events):
        for start_s, end_s in occurrences(
            event, spec.timezone, float(at[0]), float(at[-1]) + calendar.slot_s
        ):
            edges = (start_s - event.before_s, start_s, end_s, end_s + event.after_s)
            for part in range(PHASES):
                inside = (at + calendar.slot_s > edges[part]) & (at < edges[part + 1])
                inside &= (phase != 1) if part == 1 else (phase < 0)
                which[inside], phase[inside], turn[inside] = index, part, number
            number += 1
    return which, phase, turn


@dataclass(frozen=True)
class Lifts:
    """What events do to N series.

    Attributes
    ----------
    log_factor, deviation : float64[E, 3, N]
        Of each event of the spec and each phase: the log of the factor, and how sure it is.
    holidays : int
        Public holidays that were seen.
    """

    calendar: Calendar
    log_factor: FloatArray
    deviation: FloatArray
    holidays: int

    @property
    def idle(self) -> bool:
        """Whether the calendar holds nothing that could matter."""
        return not self.calendar.spec.events and not self.calendar.spec.country

    def at(self, slots: SlotArray) -> tuple[FloatArray, FloatArray]:
        """Log factor and its deviation at each slot, float64[H, N] each; zero on other days."""
        shape = (slots.size, self.log_factor.shape[2])
        lift, unsure = np.zeros(shape), np.zeros(shape)
        if self.idle:
            return lift, unsure
        which, phase, _ = _phases(self.calendar, slots)
        on = which >= 0
        lift[on], unsure[on] = (
            table[which[on], phase[on]] for table in (self.log_factor, self.deviation)
        )
        if self.calendar.spec.country:
            holiday = (self.calendar.day_type(slots) == HOLIDAY) & ~on
            unsure[holiday] = HOLIDAY_DEVIATION / (1 + self.holidays)
        return lift, unsure


def learn_lifts(Y: FloatArray, calendar: Calendar) -> Lifts:
    """Learn from a history, float64[T, N] (NaN = missing), slot 0 the calendar's first."""
    spec, series = calendar.spec, Y.shape[1]
    slots = np.arange(Y.shape[0])
    which, phase, turn = _phases(calendar, slots)
    usual = _usual(Y, which >= 0, calendar.slot_s) if (which >= 0).any() else Y
    table = np.zeros((2, len(spec.events), PHASES, series))
    for index, event in enumerate(spec.events):
        alike = [i for i, other in enumerate(spec.events) if other.name == event.name]
        for part in range(PHASES):
            here = np.isin(which, alike) & (phase == part)
            ratios = [
                _log_ratio(Y[here & (turn == k)], usual[here & (turn == k)])
                for k in np.unique(turn[here])
            ]
            prior = np.log(event.factor) * (1.0 if part == 1 else 0.5)
            table[:, index, part] = _shrunk(np.array(ratios).reshape(-1, series), prior)
    return Lifts(calendar, table[0], table[1], _holidays_seen(calendar, slots, spec))


def _usual(Y: FloatArray, during: BoolArray, slot_s: float) -> FloatArray:
    """What the same hours had in the weeks around, else on the days around."""
    elsewhere = np.where(during[:, None], np.nan, Y)
    found = elsewhere.copy()
    week = round(WEEK_S / slot_s)
    for back in (week, -week, 2 * week, -2 * week):
        other = np.full_like(Y, np.nan)
        if 0 < back < Y.shape[0]:
            other[back:] = elsewhere[:-back]
        elif 0 < -back < Y.shape[0]:
            other[:back] = elsewhere[-back:]
        found = np.where(np.isnan(found), other, found)
    by_day = fill_season(elsewhere, max(round(DAY_S / slot_s), 1))
    return np.where(np.isnan(found), by_day, found)


def _log_ratio(came: FloatArray, usual: FloatArray) -> FloatArray:
    """Log of what came over what is usual, float64[N]; NaN where nothing was measured."""
    seen = np.isfinite(came)
    least = 1e-3 * np.where(seen, usual, 0.0).mean(axis=0) + 1e-12
    total, base = (np.where(seen, each, 0.0).mean(axis=0) for each in (came, usual))
    return np.where(seen.any(axis=0), np.log((total + least) / (base + least)), np.nan)


def _shrunk(ratios: FloatArray, prior: float) -> tuple[FloatArray, FloatArray]:
    """Log factor and its deviation from those of the occurrences, float64[K, N], and the prior."""
    seen = np.isfinite(ratios)
    count = seen.sum(axis=0)
    known = np.where(seen, ratios, 0.0)
    mean = (known.sum(axis=0) + PRIOR_WEIGHT * prior) / (count + PRIOR_WEIGHT)
    typical = np.maximum(SEEN * np.abs(mean), SEEN_LEAST)
    apart = (np.where(seen, (ratios - mean) ** 2, 0.0).sum(axis=0) + typical**2) / (count + 1)
    unseen = np.maximum(UNSEEN * abs(prior), UNSEEN_LEAST)
    sure = np.sqrt(apart * (1 + 1 / np.maximum(count, 1)))
    return mean, np.where(count > 0, sure, unseen)


def _holidays_seen(calendar: Calendar, slots: SlotArray, spec: CalendarSpec) -> int:
    if not spec.country or not slots.size:
        return 0
    kind = calendar.day_type(slots)
    days = calendar.local(slots).astype(np.int64) // DAY_S
    return int(np.unique(days[kind == HOLIDAY]).size)


def lifted(z: FloatArray, log_factor: FloatArray) -> FloatArray:
    """A season times the factors, on the z scale.

    Examples
    --------
    >>> np.expm1(lifted(np.log1p(np.array([[1.0]])), np.log(np.array([[3.0]])))).round(6).item()
    3.0
    """
    if not log_factor.any():
        return z
    return np.asarray(np.log1p(np.exp(log_factor) * np.expm1(np.maximum(z, 0.0))))
