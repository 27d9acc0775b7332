"""How far demand is from usual: against the same time of other days, and the level of the days around.

Everything is on a coarse grid of quarters of an hour (or the slots, where these are longer) and on the
scale log1p(y / c), for N series at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from forecaster.domain.demand import FloatArray

COARSE_S = 900.0
SOFTNESS = 0.2
DAY_S, HOUR_S = 86_400.0, 3600.0
LEAST_SIZE = 0.06
"""Deviations of a service are thought no smaller than this, z."""
_MAD = 1.4826


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual, on the coarse grid.

    Attributes
    ----------
    per : int
        Slots of a coarse one.
    scale : float64[N]
        c of the log scale.
    z : float64[M, N]
        Demand; NaN where missing.
    expected_z : float64[M, N]
        The usual at that time of day, at the level of the days around.
    off : float64[M, N]
        How far z is from it, judged by the milder of the day before and the day after: a level that
        stays is none; 0 where missing.
    size : float64[M, N]
        How large deviations usually are then.
    """

    per: int
    scale: FloatArray
    z: FloatArray
    expected_z: FloatArray
    off: FloatArray
    size: FloatArray


def usual(Y: FloatArray, slot_s: float) -> Usual:
    """Compare each quarter of an hour of ``Y[T, N]`` (NaN = missing) with what is usual."""
    per = max(round(COARSE_S / slot_s), 1)
    coarse = _means(Y, per)
    coarse_s = slot_s * per
    day = max(round(DAY_S / coarse_s), 1)
    seen = np.isfinite(coarse)
    mean = np.where(seen, coarse, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    scale = np.where(mean > 0, SOFTNESS * mean, 1.0)
    z = np.log1p(np.maximum(coarse, 0.0) / scale)
    at_time = _per_phase(z, day)
    apart = z - at_time
    before, after = _levels(apart, max(round(HOUR_S / coarse_s), 1))
    off = _milder(apart - before, apart - after)
    size = _sizes(off, day)
    level = np.where(np.abs(apart - before) <= np.abs(apart - after), before, after)
    return Usual(per, scale, z, at_time + level, np.where(seen, off, 0.0), size)


def _means(Y: FloatArray, per: int) -> FloatArray:
    """Means over `per` slots; the last may be of fewer."""
    if per == 1:
        return Y
    whole = -(-Y.shape[0] // per)
    padded = np.full((whole * per, Y.shape[1]), np.nan)
    padded[: Y.shape[0]] = Y
    return _mean(padded.reshape(whole, per, -1), 1)


def _per_phase(z: FloatArray, day: int) -> FloatArray:
    """Median over the days at each time of day, repeated along z."""
    days = -(-z.shape[0] // day)
    padded = np.full((days * day, z.shape[1]), np.nan)
    padded[: z.shape[0]] = z
    found = _median(padded.reshape(days, day, -1), 0)
    return np.tile(np.nan_to_num(found), (days, 1))[: z.shape[0]]


def _levels(apart: FloatArray, hour: int) -> tuple[FloatArray, FloatArray]:
    """Median deviation of the 24 hours before each slot and of the 24 after it."""
    hourly = _means(apart, hour)
    hours, series = hourly.shape
    padded = np.full((hours + 48, series), np.nan)
    padded[24:-24] = hourly
    rolled = _median(sliding_window_view(padded, 24, axis=0), -1)
    before, after = rolled[:hours], rolled[25 : 25 + hours]
    before = np.where(np.isfinite(before), before, after)
    after = np.where(np.isfinite(after), after, before)
    before, after = np.nan_to_num(before), np.nan_to_num(after)
    at = np.arange(apart.shape[0]) // hour
    return before[at], after[at]


def _milder(a: FloatArray, b: FloatArray) -> FloatArray:
    """The smaller of two deviations of one sign; none where they disagree."""
    return np.where(a * b > 0, np.sign(a) * np.minimum(np.abs(a), np.abs(b)), 0.0)


def _sizes(off: FloatArray, day: int) -> FloatArray:
    """Usual size of deviations, of the series and of the time of day, whichever is larger."""
    size = np.abs(off)
    whole = np.maximum(_MAD * _median(size, 0), LEAST_SIZE)
    at_time = _MAD * _per_phase(size, day)
    return np.asarray(np.maximum(np.nan_to_num(whole, nan=LEAST_SIZE), at_time))


def _mean(values: FloatArray, axis: int) -> FloatArray:
    """Mean of what is known; NaN where nothing is."""
    seen = np.isfinite(values)
    count = seen.sum(axis=axis)
    total = np.where(seen, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _median(values: FloatArray, axis: int) -> FloatArray:
    """Lower median of what is known; NaN where nothing is (missing values sort last)."""
    known = np.isfinite(values).sum(axis=axis, keepdims=True)
    middle = np.take_along_axis(np.sort(values, axis=axis), np.maximum(known - 1, 0) // 2, axis)
    return np.asarray(np.squeeze(middle, axis=axis))
