"""Samples of counters, put on the minutes that demand is counted in."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from forecaster.domain.demand import FloatArray, IntArray
from forecaster.domain.samples import Kept, Point


def minute_end_s(at_s: float) -> int:
    """End of the minute of a sample, epoch seconds.

    Examples
    --------
    >>> minute_end_s(60.0), minute_end_s(60.001)
    (60, 120)
    """
    return math.ceil(at_s / 60) * 60


def on_moments(kept: Kept, moment_s: IntArray, gap_s: float) -> FloatArray:
    """Values of a series at minute ends: the newest sample of the minute before each.

    A minute without a sample lies on the line between its neighbours, where they are at most
    `gap_s` apart: what came meanwhile is neither lost nor all in one minute. A counter that was reset
    meanwhile stays where it was.

    Returns
    -------
    float64[T]
        NaN where nothing is known.

    Examples
    --------
    >>> series = Kept({}, 0.0, np.array([60, 240]), np.array([60.0, 240.0]), np.array([5.0, 11.0]))
    >>> on_moments(series, np.array([0, 60, 120, 180, 240, 300]), 300.0).tolist()
    [nan, 5.0, 7.0, 9.0, 11.0, nan]
    """
    found = np.full(moment_s.size, np.nan)
    if not kept.minute_s.size:
        return found
    after = np.searchsorted(kept.minute_s, moment_s)
    last = kept.minute_s.size - 1
    exact = (after <= last) & (kept.minute_s[np.minimum(after, last)] == moment_s)
    found[exact] = kept.value[after[exact]]
    hole = ~exact & (after > 0) & (after <= last)
    high, low = after[hole], after[hole] - 1
    span = kept.at_s[high] - kept.at_s[low]
    grew = np.maximum(kept.value[high] - kept.value[low], 0.0)
    share = np.clip((moment_s[hole] - kept.at_s[low]) / np.maximum(span, 1e-3), 0.0, 1.0)
    # whole requests: the parts of a hole add up to what came in it
    found[hole] = np.where(span <= gap_s, kept.value[low] + np.floor(grew * share), np.nan)
    return found


def newest_of_minutes(points: Iterable[Point]) -> dict[int, Point]:
    """The newest point of each minute, by the minute's end; order and repetition do not matter.

    Examples
    --------
    >>> found = newest_of_minutes([Point(59.0, 2.0), Point(30.0, 1.0), Point(90.0, 3.0)])
    >>> {end: point.value for end, point in found.items()}
    {60: 2.0, 120: 3.0}
    """
    found: dict[int, Point] = {}
    for point in points:
        end = minute_end_s(point.at_s)
        if end not in found or point.at_s > found[end].at_s:
            found[end] = point
    return found
