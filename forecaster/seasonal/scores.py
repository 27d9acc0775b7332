"""Scores of forecasts; every one ignores missing actuals."""

from __future__ import annotations

import numpy as np

from forecaster.domain.demand import FloatArray


def wape(actual: FloatArray, forecast: FloatArray) -> float:
    """Sum of absolute errors over the sum of actuals.

    Examples
    --------
    >>> wape(np.array([2.0, 2.0]), np.array([1.0, 2.0]))
    0.25
    """
    seen = np.isfinite(actual) & np.isfinite(forecast)
    total = np.abs(actual[seen]).sum()
    return float(np.abs(actual[seen] - forecast[seen]).sum() / total) if total > 0 else float("nan")


def pinball(actual: FloatArray, forecast: FloatArray, level: float) -> float:
    """Mean pinball loss at `level` over the mean actual (Koenker and Bassett, 1978).

    Examples
    --------
    >>> pinball(np.array([2.0, 2.0]), np.array([1.0, 3.0]), 0.9)
    0.25
    """
    seen = np.isfinite(actual) & np.isfinite(forecast)
    error = actual[seen] - forecast[seen]
    mean = np.abs(actual[seen]).mean() if seen.any() else 0.0
    loss = np.maximum(level * error, (level - 1) * error)
    return float(loss.mean() / mean) if mean > 0 else float("nan")


def coverage(actual: FloatArray, forecast: FloatArray) -> float:
    """Share of actuals at or below the forecast quantile."""
    seen = np.isfinite(actual) & np.isfinite(forecast)
    return float((actual[seen] <= forecast[seen]).mean()) if seen.any() else float("nan")


def smape(actual: FloatArray, forecast: FloatArray) -> float:
    """Symmetric mean absolute percentage error as in the M4 competition, in percent."""
    seen = np.isfinite(actual) & np.isfinite(forecast)
    a, f = actual[seen], forecast[seen]
    base = np.abs(a) + np.abs(f)
    return float(
        200.0 * np.mean(np.divide(np.abs(a - f), base, out=np.zeros_like(base), where=base > 0))
    )


def mase(actual: FloatArray, forecast: FloatArray, history: FloatArray, season: int) -> float:
    """Mean absolute error over that of seasonal naive inside the history (Hyndman, 2006)."""
    seen = np.isfinite(actual) & np.isfinite(forecast)
    naive = np.abs(history[season:] - history[:-season])
    scale = float(np.nanmean(naive)) if naive.size else float("nan")
    return float(np.abs(actual[seen] - forecast[seen]).mean() / scale)
