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
    value = np.empty((2, series), residual.dtype)  # as it is, and clipped
    seen = np.empty(series, residual.dtype)
    for t in range(slots):
        for n in range(series):  # no branch below: the compiler takes several series at a time
            here = residual[t, n]
            seen[n] = 0.0 if np.isnan(here) else 1.0
            value[0, n] = 0.0 if np.isnan(here) else here
            value[1, n] = min(max(value[0, n], -CLIP), CLIP)
        for k in range(gains.size):
            gain, of = gains[k], 1 if gains[k] < 1.0 else 0
            for n in range(series):
                state[k, n] += gain * seen[n] * (value[of, n] - state[k, n])
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
