"""What deserves an alert: burn rates over two windows each, and plain limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from forecaster.domain.alert import Kind, Symptom

HOUR_S = 3600.0
FAST_BURN, SLOW_BURN = 14.4, 6.0
"""Times the allowed rate: 2 % of a month's budget in an hour, 5 % in six hours."""
FAST_WINDOWS_S = (HOUR_S, HOUR_S / 12)
SLOW_WINDOWS_S = (6 * HOUR_S, HOUR_S / 2)
"""A long window says that it matters, a short one that it still lasts."""
LEAST_REQUESTS = 50
"""A long window with fewer requests says nothing."""
LEAST_FACTOR = 0.7
"""Units that carry less than this share of their profile have drifted from it."""


@dataclass(frozen=True, slots=True)
class Minute:
    """Requests of one minute: all that count, and those outside the SLO."""

    start_s: float
    requests: int
    outside: int


@dataclass(frozen=True, slots=True)
class Vitals:
    """One service at one moment.

    Attributes
    ----------
    minutes : sequence of Minute
        The last six hours.
    allowed_share : float
        1 - attainment target.
    denied_ago_s : float
        Since capacity was refused last; infinity: never.
    data_age_s, stale_s : float
        Since the last measured slot ended, and how much of that is too much; NaN age: no log yet.
    believed : float
        Measured over predicted capacity.
    failures : sequence of str
        What keeps failing: plans that cannot be made.
    gates : sequence of str
        Gates that are closed, in words.
    """

    service: str
    minutes: Sequence[Minute]
    allowed_share: float
    denied_ago_s: float = math.inf
    data_age_s: float = math.nan
    stale_s: float = math.inf
    believed: float = 1.0
    failures: Sequence[str] = ()
    gates: Sequence[str] = ()


def burn_rate(
    minutes: Sequence[Minute], now_s: float, window_s: float, allowed_share: float, least: int = 1
) -> float:
    """Times the allowed rate at which the error budget is spent; 0 with fewer than `least` requests.

    Examples
    --------
    Half of the requests are outside where one in a hundred may be:

    >>> burn_rate([Minute(0.0, 100, 50)], 60.0, 3600.0, 0.01)
    50.0
    """
    own = [each for each in minutes if now_s - window_s <= each.start_s < now_s]
    requests = sum(each.requests for each in own)
    if requests < max(least, 1):
        return 0.0
    return sum(each.outside for each in own) / requests / allowed_share


def symptoms(vitals: Vitals, now_s: float) -> list[Symptom]:
    """Everything about a service that somebody should know."""
    name, found = vitals.service, []
    for limit, (long_s, short_s), urgent in (
        (FAST_BURN, FAST_WINDOWS_S, True),
        (SLOW_BURN, SLOW_WINDOWS_S, False),
    ):
        long = burn_rate(vitals.minutes, now_s, long_s, vitals.allowed_share, LEAST_REQUESTS)
        short = burn_rate(vitals.minutes, now_s, short_s, vitals.allowed_share)
        if min(long, short) >= limit:
            text = f"the error budget burns {long:.0f} times too fast over {long_s / HOUR_S:.0f} h"
            found.append(Symptom(Kind.SLO_BURN, name, text, urgent))
            break
    if vitals.denied_ago_s < HOUR_S:
        text = f"capacity was denied {vitals.denied_ago_s / 60:.0f} min ago"
        found.append(Symptom(Kind.CAPACITY_DENIED, name, text, urgent=True))
    if vitals.believed < LEAST_FACTOR:
        text = f"units carry {vitals.believed:.0%} of what their profile promises"
        found.append(Symptom(Kind.DRIFT, name, text))
    if vitals.data_age_s > vitals.stale_s:
        text = f"the log is silent for {vitals.data_age_s / 60:.0f} min: nothing is given back"
        found.append(Symptom(Kind.STALE_DATA, name, text))
    elif vitals.failures:
        text = f"no new plan: {vitals.failures[0]}"
        found.append(Symptom(Kind.STALE_DATA, name, text))
    if vitals.gates:
        found.append(Symptom(Kind.GATE, name, "; ".join(vitals.gates)))
    return found


def due_s(symptom_urgent: bool, now_s: float, quiet: tuple[int, int] | None, zone: str) -> float:
    """When a notice may go out: now, or where quiet hours are kept, at their end.

    Parameters
    ----------
    quiet : (int, int) or None
        Minutes since local midnight; an end that is not after the start is on the next day.

    Examples
    --------
    Twenty past midnight in Berlin, quiet from ten to seven:

    >>> due_s(False, 1767655200.0, (22 * 60, 7 * 60), "Europe/Berlin") - 1767655200.0
    24000.0
    >>> due_s(True, 1767655200.0, (22 * 60, 7 * 60), "Europe/Berlin") - 1767655200.0
    0.0
    """
    if symptom_urgent or quiet is None:
        return now_s
    here = datetime.fromtimestamp(now_s, ZoneInfo(zone))
    start, end = quiet
    for days in (-1, 0):
        midnight = here.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=days)
        begin = midnight + timedelta(minutes=start)
        over = midnight + timedelta(minutes=end if end > start else end + 24 * 60)
        if begin.timestamp() <= now_s < over.timestamp():
            return over.timestamp()
    return now_s
