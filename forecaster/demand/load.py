"""Load instead of requests: each request counts with the work that it brings.

What is forecast is the joint quantity, arrivals x work (design, section 4): a long prompt fills a
unit as ten short ones do. The series is kept in requests of mean size, so that it reads like a rate,
and a profile that is measured again scales nothing but the mean.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from forecaster.domain.demand import DemandSeries, FloatArray

HOURS = 24
_HOUR_S = 3600.0
FULL_WEIGHT = 20.0
"""Requests of an hour of the day that count as much as the mean over all."""


def as_load(series: DemandSeries, mean_work_s: float = 0.0) -> tuple[DemandSeries, float]:
    """The series with each slot's work in requests of mean size, and that mean, busy seconds.

    Parameters
    ----------
    series : DemandSeries
        With `work_s`; without it, or where no request takes any work, it is returned as it is.
    mean_work_s : float
        The mean to count by, so that two pieces of one log agree; 0: that of the series.

    Examples
    --------
    >>> from forecaster.domain.demand import TokenMix
    >>> mix, none = TokenMix(0, 0, 0, 0, 0), np.zeros(2)
    >>> series = DemandSeries("s", 0, 60, np.array([1.0, 1.0]), none, none, mix, 1, np.array([1.0, 3.0]))
    >>> load, mean_s = as_load(series)
    >>> load.arrivals.tolist(), mean_s
    ([0.5, 1.5], 2.0)
    """
    arrivals, work = np.nansum(series.arrivals), np.nansum(series.work_s)
    if not mean_work_s:
        mean_work_s = float(work / arrivals) if arrivals > 0 else 0.0
    if not work > 0 or not mean_work_s > 0:
        return series, mean_work_s
    return replace(series, arrivals=series.work_s / mean_work_s), mean_work_s


def work_by_hour(series: DemandSeries) -> FloatArray:
    """Mean busy seconds of one request in each hour of the day (UTC), float64[24].

    Token lengths have a day of their own; an hour with few requests is drawn to the mean of all.

    Parameters
    ----------
    series : DemandSeries
        With `work_s` and its own arrivals (before `as_load`).
    """
    seen = np.isfinite(series.arrivals)
    starts = series.start_s + series.slot_s * np.flatnonzero(seen)
    hour = (starts // _HOUR_S).astype(np.int64) % HOURS
    arrivals = np.bincount(hour, series.arrivals[seen], minlength=HOURS)
    work = np.bincount(hour, series.work_s[seen], minlength=HOURS)
    if not arrivals.sum() > 0:
        return np.ones(HOURS)
    mean = work.sum() / arrivals.sum()
    return np.asarray((work + FULL_WEIGHT * mean) / (arrivals + FULL_WEIGHT))


def requests_of(load_erl: FloatArray, starts_s: FloatArray, hours_s: FloatArray) -> FloatArray:
    """Requests/s whose work is a load: over the mean work at that hour of the day.

    Parameters
    ----------
    load_erl : float64[H, ...]
        Busy units.
    starts_s : float64[H]
        Epoch seconds.
    hours_s : float64[24]
        `work_by_hour`.
    """
    work = hours_s[(starts_s // _HOUR_S).astype(np.int64) % HOURS]
    return np.asarray(load_erl / work.reshape(-1, *([1] * (load_erl.ndim - 1))))
