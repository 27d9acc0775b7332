"""Moving means over many series at once: one pass, whatever the window."""

from __future__ import annotations

import numba
import numpy as np

from forecaster.domain.demand import FloatArray


def moving_mean(values: FloatArray, window: int) -> FloatArray:
    """Mean of every `window` rows in a row, float[T - window + 1, N].

    Parameters
    ----------
    values : float[T, N]
        Without gaps; T >= window.
    window : int
        Rows, >= 1.

    Examples
    --------
    >>> moving_mean(np.array([[1.0], [2.0], [6.0]]), 2).ravel()
    array([1.5, 4. ])
    """
    return np.asarray(_run(np.ascontiguousarray(values), window))


@numba.njit(cache=True)
def _run(values: FloatArray, window: int) -> FloatArray:
    rows, series = values.shape
    out = np.empty((rows - window + 1, series), values.dtype)
    total = np.zeros(series)
    for t in range(rows):
        for n in range(series):
            total[n] += values[t, n]
        if t < window - 1:
            continue
        for n in range(series):
            out[t - window + 1, n] = total[n] / window
            total[n] -= values[t - window + 1, n]
    return out
