"""Floors and ceilings of each slot: the service's limits, its schedule windows, a pin."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray, IntArray
from forecaster.domain.plan import Reason
from forecaster.domain.service import Window
from forecaster.planning.policy import Policy

DAY_MIN = 1440
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may be held in each slot.

    Attributes
    ----------
    least, most : int64[T]
        Floor and ceiling, multiples of the purchase step, least <= most.
    reason : tuple of Reason or None
        Whose they are where they are not the limits' own: WINDOW or PIN.
    """

    least: IntArray
    most: IntArray
    reason: tuple[Reason | None, ...]

    def __getitem__(self, slots: slice) -> Bounds:
        return Bounds(self.least[slots], self.most[slots], self.reason[slots])


def bounds(policy: Policy, starts_s: FloatArray) -> Bounds:
    """Bounds of the slots that start at `starts_s`, epoch seconds.

    Windows narrow the limits and never widen them: floors rise, ceilings fall, and where two
    windows disagree the floor wins. A pin is floor and ceiling in one, inside the limits.

    Examples
    --------
    >>> from forecaster.domain.service import Limits
    >>> office = Window((0, 1, 2, 3, 4), 8 * 60, 18 * 60, min_units=3)
    >>> policy = Policy(Limits(1, 8), windows=(office,))
    >>> monday = 1_767_571_200.0 + 3600.0 * np.array([7, 8, 18])
    >>> bounds(policy, monday).least.tolist()
    [1, 3, 1]
    """
    limits, step = policy.limits, policy.limits.step_units
    least = np.full(starts_s.size, limits.min_units, np.int64)
    most = np.full(starts_s.size, limits.max_units, np.int64)
    whose: npt.NDArray[np.object_] = np.full(starts_s.size, None, dtype=object)
    if policy.windows:
        day, minute = _local(starts_s, policy.timezone)
        for window in policy.windows:
            inside = _inside(window, day, minute)
            if window.min_units is not None:
                floor = min(-(-window.min_units // step) * step, limits.max_units)
                least[inside] = np.maximum(least[inside], floor)
            if window.max_units is not None:
                ceiling = max(window.max_units // step * step, limits.min_units)
                most[inside] = np.minimum(most[inside], ceiling)
            whose[inside] = Reason.WINDOW
        most = np.maximum(most, least)
    if policy.pin is not None:
        pin = policy.pin
        units = min(max(-(-pin.units // step) * step, limits.min_units), limits.max_units)
        inside = (starts_s >= pin.from_s) & (starts_s < pin.until_s)
        least[inside] = most[inside] = units
        whose[inside] = Reason.PIN
    return Bounds(least, most, tuple(whose))


def _local(starts_s: FloatArray, timezone: str) -> tuple[IntArray, IntArray]:
    """Day of the week and minute of the day in the zone; the zone's rules are asked once an hour."""
    hours, at = np.unique(np.floor(starts_s / _HOUR_S), return_inverse=True)
    zone = ZoneInfo(timezone)
    offsets = []
    for hour in hours:
        offset = datetime.fromtimestamp(hour * _HOUR_S, UTC).astimezone(zone).utcoffset()
        offsets.append(offset.total_seconds() if offset else 0.0)
    minutes = np.floor((starts_s + np.array(offsets)[at]) / 60).astype(np.int64)
    return (minutes // DAY_MIN + 3) % 7, minutes % DAY_MIN  # 1970-01-01 was a Thursday


def _inside(window: Window, day: IntArray, minute: IntArray) -> npt.NDArray[np.bool_]:
    today = np.isin(day, window.days)
    if window.end_min > window.start_min:
        return np.asarray(today & (minute >= window.start_min) & (minute < window.end_min))
    yesterday = np.isin((day - 1) % 7, window.days)
    return np.asarray(
        (today & (minute >= window.start_min)) | (yesterday & (minute < window.end_min))
    )
