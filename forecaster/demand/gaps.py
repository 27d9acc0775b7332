"""Missing is not zero: which empty slots are silence of the source, and which are true zeros."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray

MISSING_ABOVE_ARRIVALS = 20.0
"""An empty run is missing when the usual low rate would have brought more arrivals than this.

Even for arrivals three times as dispersed as Poisson, a true zero where 20 were expected has a
probability of about e**-7.
"""

_HOUR_S = 3600
_DAY_S = 86400
_DAYS_FOR_PROFILE = 4
_LOW_QUANTILE = 0.25


def missing_slots(arrivals: FloatArray, start_s: float, slot_s: float) -> npt.NDArray[np.bool_]:
    """Mark the slots in which the source was silent.

    Parameters
    ----------
    arrivals : float64[T]
        Requests per slot, 0 where none is known.
    start_s, slot_s : float
        Start of the first slot (epoch seconds) and slot length (seconds).

    Returns
    -------
    bool[T]
        True where the slot belongs to an empty run in which more than 20 arrivals were due.

    Examples
    --------
    One request a second, then ten silent minutes: 600 arrivals are due, so they are missing.

    >>> import numpy as np
    >>> arrivals = np.full(120, 60.0)
    >>> arrivals[50:60] = 0
    >>> np.flatnonzero(missing_slots(arrivals, 0.0, 60.0)).tolist()
    [50, 51, 52, 53, 54, 55, 56, 57, 58, 59]
    """
    missing = np.zeros(arrivals.size, np.bool_)
    empty = arrivals == 0
    if not empty.any() or empty.all():
        return missing
    due = np.concatenate(([0.0], np.cumsum(usual_low_arrivals(arrivals, start_s, slot_s))))
    edges = np.diff(np.concatenate(([0], empty.view(np.int8), [0])))
    for begin, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        missing[begin:end] = due[end] - due[begin] > MISSING_ABOVE_ARRIVALS
    return missing


def usual_low_arrivals(arrivals: FloatArray, start_s: float, slot_s: float) -> FloatArray:
    """Arrivals that each slot would have on a low day, float64[T].

    With four days or more: the lower quartile over the days of the mean rate in that hour of the
    day, so that an outage of two days in fourteen does not count as usual, while nights and
    weekends that are regularly empty do. With less: the lower quartile of the rate over the
    whole series, in windows of up to an hour.
    """
    times_s = start_s + slot_s * np.arange(arrivals.size)
    window_s = max(slot_s, min(_HOUR_S, arrivals.size * slot_s / 24))
    if arrivals.size * slot_s >= _DAYS_FOR_PROFILE * _DAY_S:
        hour = (times_s // _HOUR_S).astype(np.int64)
        first = np.concatenate(([0], np.flatnonzero(np.diff(hour)) + 1))
        slots = np.diff(np.append(first, hour.size))
        mean = np.add.reduceat(arrivals, first) / slots
        low = np.zeros(24)
        for hour_of_day in range(24):
            of_hour = mean[hour[first] % 24 == hour_of_day]
            if of_hour.size:
                low[hour_of_day] = np.quantile(of_hour, _LOW_QUANTILE, method="lower")
        return low[hour % 24]
    per_window = max(1, round(window_s / slot_s))
    windows = arrivals[: arrivals.size // per_window * per_window].reshape(-1, per_window)
    low_rate = float(np.quantile(windows.mean(axis=1), _LOW_QUANTILE, method="lower"))
    return np.full(arrivals.size, low_rate)
