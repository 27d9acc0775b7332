"""Naive2, the bar of the M4 competition: the last value, seasonally adjusted where there is a season."""

from __future__ import annotations

import numpy as np

from forecaster.domain.demand import FloatArray

_ONE_SIDED_90 = 1.645


def naive2(history: FloatArray, horizon: int, season: int) -> FloatArray:
    """Forecast of the last value times the season, float64[horizon] (Makridakis et al., 2020).

    The season is multiplicative and taken out by classical decomposition, if its autocorrelation is
    significant at 90 % and every value is positive; else it is the plain last value.

    Examples
    --------
    >>> naive2(np.tile([1.0, 3.0], 10), 3, 2).round(6)
    array([1., 3., 1.])
    """
    known = history[np.isfinite(history)]
    if season < 2 or known.size < 3 * season or known.min() <= 0 or not _seasonal(known, season):
        return np.full(horizon, known[-1])
    index = _season(known, season)
    place = np.arange(known.size, known.size + horizon) % season
    return np.asarray(known[-1] / index[(known.size - 1) % season] * index[place])


def _seasonal(y: FloatArray, season: int) -> bool:
    centred = y - y.mean()
    power = float(centred @ centred)
    if power <= 0:
        return False
    correlation = np.array([centred[k:] @ centred[:-k] for k in range(1, season + 1)]) / power
    noise = np.sqrt((1 + 2 * (correlation[:-1] ** 2).sum()) / y.size)
    return bool(abs(correlation[-1]) > _ONE_SIDED_90 * noise)


def _season(y: FloatArray, season: int) -> FloatArray:
    """Multiplicative seasonal indices with mean 1, float64[season]."""
    kernel = np.ones(season) / season
    if season % 2 == 0:
        kernel = np.convolve(kernel, [0.5, 0.5])
    trend = np.convolve(y, kernel, mode="valid")
    begin = (y.size - trend.size) // 2
    ratio = y[begin : begin + trend.size] / trend
    place = np.arange(begin, begin + trend.size) % season
    index = np.bincount(place, ratio, season) / np.bincount(place, minlength=season)
    return np.asarray(index / index.mean())
