"""The residual bank: exponential means of what the season missed, over memories of 0 to 12 hours."""

from __future__ import annotations

import numba
import numpy as np

from forecaster.domain.demand import FloatArray

HALF_LIVES_S = (0.0, 900.0, 3600.0, 14400.0, 43200.0)
CLIP = 2.5
"""A residual beyond this many z is an incident, not a level: it is not remembered in full."""


def residual_bank(residual: FloatArray, slot_s: float) -> FloatArray:
    """Exponential means of the residuals up to and including each slot, float64[T, 5, N].

    Missing residuals carry the last mean forward.
    """
    return _run(np.ascontiguousarray(residual), np.asarray(_gains(slot_s)[:, 0], residual.dtype))


@numba.njit(cache=True)
def _run(residual: FloatArray, gains: FloatArray) -> FloatArray:
    slots, series = residual.shape
    bank = np.empty((slots, gains.size, series), residual.dtype)
    state = np.zeros((gains.size, series), residual.dtype)
    for t in range(slots):
        for k in range(gains.size):
            for n in range(series):
                value = residual[t, n]
                if not np.isnan(value):
                    if gains[k] < 1.0:
                        value = min(max(value, -CLIP), CLIP)
                    state[k, n] += gains[k] * (value - state[k, n])
                bank[t, k, n] = state[k, n]
    return bank


def advance_bank(bank: FloatArray, residual: FloatArray, slot_s: float) -> FloatArray:
    """Bank after one more slot, float64[5, N].

    Parameters
    ----------
    bank : float64[5, N]
        The bank before.
    residual : float64[N]
        The slot's residual; NaN where missing.
    """
    gains = _gains(slot_s)
    clipped = np.minimum(np.maximum(residual, -CLIP), CLIP)
    step = gains * (np.where(gains < 1.0, clipped, residual) - bank)
    # a missing residual moves nothing
    return np.asarray(bank + np.where(np.isnan(step), 0.0, step))


def _gains(slot_s: float) -> FloatArray:
    return np.array([[1.0 if h == 0 else 1 - 0.5 ** (slot_s / h)] for h in HALF_LIVES_S])
