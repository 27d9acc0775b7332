"""The residual bank: exponential means of what the season missed, over memories of 0 to 12 hours."""

from __future__ import annotations

import numpy as np

from forecaster.domain.demand import FloatArray

HALF_LIVES_S = (0.0, 900.0, 3600.0, 14400.0, 43200.0)
CLIP = 2.5
"""A residual beyond this many z is an incident, not a level: it is not remembered in full."""


def residual_bank(residual: FloatArray, slot_s: float) -> FloatArray:
    """Exponential means of the residuals up to and including each slot, float64[T, 5, N].

    Missing residuals carry the last mean forward.
    """
    shape = (residual.shape[0], len(HALF_LIVES_S), residual.shape[1])
    bank = np.empty(shape, residual.dtype)
    state = np.zeros(shape[1:], residual.dtype)
    gains = np.asarray(_gains(slot_s), residual.dtype)
    for t, value in enumerate(residual):
        state = _advanced(state, value, gains)
        bank[t] = state
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
    return _advanced(bank, residual, _gains(slot_s))


def _gains(slot_s: float) -> FloatArray:
    return np.array([[1.0 if h == 0 else 1 - 0.5 ** (slot_s / h)] for h in HALF_LIVES_S])


def _advanced(bank: FloatArray, residual: FloatArray, gains: FloatArray) -> FloatArray:
    clipped = np.minimum(np.maximum(residual, -CLIP), CLIP)
    step = gains * (np.where(gains < 1.0, clipped, residual) - bank)
    # a missing residual moves nothing
    return np.asarray(bank + np.where(np.isnan(step), 0.0, step))
