"""Scores of forecasts, over the first axis (time); every one ignores missing values."""

from __future__ import annotations

import numpy as np

from forecaster.domain.demand import FloatArray


def wape(actual: FloatArray, forecast: FloatArray) -> FloatArray:
    """Sum of absolute errors over the sum of actuals; NaN where nothing was demanded.

    Examples
    --------
    >>> float(wape(np.array([2.0, 2.0]), np.array([1.0, 2.0])))
    0.25
    """
    seen = np.isfinite(actual) & np.isfinite(forecast)
    error = np.where(seen, np.abs(actual - forecast), 0.0).sum(axis=0)
    return _over(error, np.where(seen, np.abs(actual), 0.0).sum(axis=0))


def pinball(actual: FloatArray, forecast: FloatArray, level: float) -> FloatArray:
    """Mean pinball loss at `level` over the mean actual (Koenker and Bassett, 1978).

    Examples
    --------
    >>> float(pinball(np.array([2.0, 2.0]), np.array([1.0, 3.0]), 0.9))
    0.25
    """
    seen = np.isfinite(actual) & np.isfinite(forecast)
    error = np.where(seen, actual - forecast, 0.0)
    loss = np.maximum(level * error, (level - 1) * error).sum(axis=0)
    return _over(loss, np.where(seen, np.abs(actual), 0.0).sum(axis=0))


def coverage(actual: FloatArray, forecast: FloatArray) -> FloatArray:
    """Share of actuals at or below the forecast quantile."""
    seen = np.isfinite(actual) & np.isfinite(forecast)
    return _over((seen & (actual <= forecast)).sum(axis=0), seen.sum(axis=0))


def smape(actual: FloatArray, forecast: FloatArray) -> FloatArray:
    """Symmetric mean absolute percentage error as in the M4 competition, in percent."""
    seen = np.isfinite(actual) & np.isfinite(forecast)
    base = np.where(seen, np.abs(actual) + np.abs(forecast), 1.0)
    error = np.where(seen & (base > 0), np.abs(actual - forecast), 0.0)
    share = error / np.where(base > 0, base, 1.0)
    return _over(200.0 * share.sum(axis=0), seen.sum(axis=0))


def mase(actual: FloatArray, forecast: FloatArray, history: FloatArray, season: int) -> FloatArray:
    """Mean absolute error over that of seasonal naive inside the history (Hyndman, 2006)."""
    seen = np.isfinite(actual) & np.isfinite(forecast)
    error = _over(np.where(seen, np.abs(actual - forecast), 0.0).sum(axis=0), seen.sum(axis=0))
    change = np.abs(history[season:] - history[:-season])
    known = np.isfinite(change)
    return _over(error, _over(np.where(known, change, 0.0).sum(axis=0), known.sum(axis=0)))


def _over(part: FloatArray, whole: FloatArray) -> FloatArray:
    """The ratio; NaN where there is no whole."""
    some = np.asarray(whole) > 0
    ratio = np.divide(part, np.where(some, whole, 1.0))
    return np.asarray(np.where(some, ratio, np.nan))
