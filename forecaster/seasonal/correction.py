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


def fit_correction(
    residual: FloatArray, bank: FloatArray, leads: tuple[int, ...], base_z: FloatArray
) -> FloatArray:
    """Non-negative ridge weights of the signals for the residual `lead` slots later, float64[L, 6].

    The signals are the residual bank and the season's way from now to then, backwards: a weight of
    1 on it (the most) and on the present residual is the last value, whatever the season says.
    """
    weights = np.zeros((len(leads), bank.shape[1] + 1))
    for row, lead in enumerate(leads):
        if lead >= residual.size:
            continue
        target = residual[lead:]
        X = np.column_stack([bank[:-lead], base_z[:-lead] - base_z[lead:]])
        seen = np.isfinite(target)
        if seen.sum() < 50:
            continue
        X, y = X[seen], np.clip(target[seen], -CLIP, CLIP)
        # no weight below zero: more load now never lowers a forecast
        root = np.linalg.cholesky(X.T @ X + PENALTY * np.eye(X.shape[1])).T
        weights[row], _ = nnls(root, np.linalg.solve(root.T, X.T @ y))
    weights[:, -1] = np.minimum(weights[:, -1], 1.0)
    return weights


def shift(
    weights: FloatArray, bank: FloatArray, base_now_z: FloatArray, base_z: FloatArray
) -> FloatArray:
    """What the correction adds to the season.

    Parameters
    ----------
    weights : float64[6] or float64[n, 6]
        From `fit_correction`, at the leads of `base_z`.
    bank : float64[5] or float64[n, 5]
        Residual bank at the origin.
    base_now_z, base_z : float64[n]
        The season at the origin and at the target, on the z scale.
    """
    carried = (weights[..., :-1] * bank).sum(axis=-1)
    return np.asarray(carried + weights[..., -1] * (base_now_z - base_z))


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
