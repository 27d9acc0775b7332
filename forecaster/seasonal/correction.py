"""The short-lead correction: what the last hours missed, carried forward and faded with lead.

A residual bank (now, 15 min, 1 h, 4 h, 12 h exponential means of the verified error) feeds one
ridge per lead, which learns by itself how fast a deviation fades (research/forecasting.md, 8.4).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from forecaster.domain.demand import FloatArray

HALF_LIVES_S = (0.0, 900.0, 3600.0, 14400.0, 43200.0)
PENALTY = 20.0
CLIP = 2.5
"""A residual beyond this many z is an incident, not a level."""


def residual_bank(residual: FloatArray, slot_s: float) -> FloatArray:
    """Exponential means of the residuals up to and including each slot, float64[T, 5].

    Missing residuals carry the last mean forward.
    """
    clipped = np.clip(residual, -CLIP, CLIP)
    gains = np.array([1.0 if h == 0 else 1 - 0.5 ** (slot_s / h) for h in HALF_LIVES_S])
    bank = np.zeros((residual.size, gains.size))
    state = np.zeros(gains.size)
    for t, value in enumerate(clipped):
        if np.isfinite(value):
            state = state + gains * (value - state)
        bank[t] = state
    return bank


def fit_correction(residual: FloatArray, bank: FloatArray, leads: tuple[int, ...]) -> FloatArray:
    """Non-negative ridge weights from bank to the residual `lead` slots later, float64[L, 5]."""
    weights = np.zeros((len(leads), bank.shape[1]))
    for row, lead in enumerate(leads):
        if lead >= residual.size:
            continue
        target, X = residual[lead:], bank[:-lead]
        seen = np.isfinite(target)
        if seen.sum() < 50:
            continue
        X, y = X[seen], np.clip(target[seen], -CLIP, CLIP)
        # no weight below zero: more load now never lowers a forecast
        root = np.linalg.cholesky(X.T @ X + PENALTY * np.eye(X.shape[1])).T
        weights[row], _ = nnls(root, np.linalg.solve(root.T, X.T @ y))
    return weights


def at_leads(table: FloatArray, leads: tuple[int, ...], horizons: FloatArray) -> FloatArray:
    """Interpolate a table over leads, linear in log lead, constant outside, float64[H, ...].

    Examples
    --------
    >>> at_leads(np.array([[0.0], [1.0]]), (1, 4), np.array([1.0, 2.0, 9.0])).ravel()
    array([0. , 0.5, 1. ])
    """
    position = np.interp(np.log(horizons), np.log(leads), np.arange(len(leads), dtype=float))
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, len(leads) - 1)
    share = (position - low)[:, None]
    return np.asarray(table[low] * (1 - share) + table[high] * share)
