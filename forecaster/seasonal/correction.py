"""The short-lead correction: what the last hours missed, carried forward and faded with lead.

A residual bank (now, 15 min, 1 h, 4 h, 12 h exponential means of the verified error) feeds one
non-negative ridge per lead, which learns by itself how fast a deviation fades. What serves is a
blend of three: so corrected, the plain season, the last value; each by its recent error at that lead
(research/forecasting.md, 8.4). All three are linear in the same signals, so the blend is one set of
weights. Everything is batched over N series.
"""

from __future__ import annotations

import math

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.seasonal.backtest import Verified
from forecaster.seasonal.bank import CLIP, HALF_LIVES_S
from forecaster.seasonal.member import DAY_S, SlotArray, slots_per_day
from forecaster.seasonal.softlog import from_z

SIGNALS = len(HALF_LIVES_S) + 1
PENALTY = 20.0
"""Ridge penalty in slots of a residual of usual size, times the root of the lead in slots: the errors
of long leads overlap, and say less than they are many."""
USUAL_SIZES = 4.0
"""In the fit, errors count as no larger than this many times the usual one."""
BLEND_HALF_LIFE_DAYS = 3.0
BLEND_POWER = 8.0
"""Blend weights are (least error / error) to this power."""
LAST_MOST_S = 28_800.0
"""The last value has no say beyond this lead: a day ahead it is yesterday's, an hour less it is not."""
ORIGINS_MOST = 2016
"""Origins that teach a lead: more of them only cost time."""
ORIGINS_LEAST = 20
MATURE_DAYS = 14
"""Errors of the last two weeks count in any case."""
_LEAST = 1e-4
_PIVOTS, _TINY = 40, 1e-9


def origins_of(slots: int, lead: int, day: int) -> SlotArray:
    """Origins that teach a lead, evenly spread over all times of the day."""
    stride = max(-(-(slots - lead) // ORIGINS_MOST), 1)
    while math.gcd(stride, day) > 1:
        stride += 1
    last = slots - 1 - lead
    return np.arange(last % stride, last + 1, stride) if last >= 0 else np.empty(0, np.int64)


def mature(verified: Verified, origins: SlotArray) -> SlotArray:
    """Those origins whose errors say what the season that serves will miss.

    A season that had seen less than half of what is known missed more than that: corrected by it, a forecast is
    corrected too much. It is left out where two weeks are left without it.
    """
    slots = verified.actual.shape[0]
    day = slots_per_day(verified.slot_s)
    youngest = min((slots - verified.first) // 2, slots - MATURE_DAYS * day)
    return np.asarray(origins[origins >= youngest])


def signals(verified: Verified, origins: SlotArray, lead: int) -> tuple[FloatArray, FloatArray]:
    """Season at the targets, float64[n, N], and what may be added to it, float64[n, 6, N].

    The last signal is the season's way from the origin to the target, backwards: a weight of 1 on
    it and on the present residual is the last value, whatever the season says.
    """
    season = verified.season_z(origins, lead)
    way = verified.base_z[0, origins] - season
    return season, np.concatenate([verified.bank[origins], way[:, None]], axis=1)


def fit_correction(verified: Verified, leads: tuple[int, ...]) -> FloatArray:
    """Weights of the signals at each lead, float64[L, 6, N]."""
    slots, series = verified.actual.shape
    day = slots_per_day(verified.slot_s)
    weights = np.zeros((len(leads), SIGNALS, series))
    for row, lead in enumerate(leads):
        origins = mature(verified, origins_of(slots, lead, day))
        if origins.size < ORIGINS_LEAST:
            continue
        season, X = signals(verified, origins, lead)
        near = lead * verified.slot_s <= LAST_MOST_S
        X[:, -1] *= near
        age_days = (origins[-1] - origins) * verified.slot_s / DAY_S
        error = verified.actual_z[origins + lead] - season
        penalty = PENALTY * math.sqrt(lead)
        ridge = _ridge(X, error, penalty)
        candidates = np.zeros((3 if near else 2, SIGNALS, series))
        candidates[0] = ridge
        if near:
            candidates[2, [0, -1]] = 1.0
        actual = verified.actual[origins + lead]
        recent = 0.5 ** (age_days / BLEND_HALF_LIFE_DAYS)
        errors = np.stack(
            [
                _mean_error(season + np.einsum("nkm,km->nm", X, each), actual, verified, recent)
                for each in candidates
            ]
        )
        share = (errors.min(axis=0) / errors) ** BLEND_POWER
        weights[row] = np.einsum("cm,ckm->km", share / share.sum(axis=0), candidates)
    return weights


def _mean_error(
    z: FloatArray, actual: FloatArray, verified: Verified, weight: FloatArray
) -> FloatArray:
    """Mean absolute error of a forecast in units of the scale, float64[N]."""
    error = np.abs(from_z(z, verified.scale) - actual) / verified.scale
    seen = np.isfinite(error)
    total = weight @ np.where(seen, error, 0.0)
    return np.asarray(total / np.maximum(weight @ seen, 1e-9) + _LEAST)


def _ridge(X: FloatArray, error: FloatArray, penalty: float) -> FloatArray:
    """Non-negative ridge of the error on the signals, float64[6, N].

    No weight below zero: more load now never lowers a forecast. The least squares work on errors in
    units of their usual size, so that the penalty means the same for every series.
    """
    seen = np.isfinite(error) & np.isfinite(X).all(axis=1)
    square = np.where(seen, np.minimum(error**2, CLIP**2), 0.0).sum(axis=0)
    usual = np.sqrt(square / np.maximum(seen.sum(axis=0), 1)) + _LEAST
    y = np.clip(np.where(seen, error, 0.0) / usual, -USUAL_SIZES, USUAL_SIZES)
    signal = np.clip(np.where(seen[:, None], X, 0.0) / usual, -USUAL_SIZES, USUAL_SIZES)
    by_series = np.ascontiguousarray(signal.transpose(2, 1, 0))
    gram = by_series @ by_series.transpose(0, 2, 1) + penalty * np.eye(SIGNALS)
    moment = (by_series @ y.T[:, :, None])[:, :, 0]
    found = non_negative(gram, moment).T
    found[-1] = np.minimum(found[-1], 1.0)
    return found


def non_negative(gram: FloatArray, moment: FloatArray) -> FloatArray:
    """Minimise ``w G w / 2 - w b`` over ``w >= 0`` for N systems at once, float64[N, K].

    Principal pivoting (Portugal, Judice and Vicente, 1994): coordinates that would be negative leave,
    those whose slope says so come back, one at a time once the first rounds are over.

    Examples
    --------
    >>> non_negative(np.array([[[2.0, 0.0], [0.0, 1.0]]]), np.array([[4.0, -1.0]]))
    array([[2., 0.]])
    """
    size = moment.shape[1]
    one = np.eye(size)
    free = np.ones(moment.shape, dtype=bool)
    w = np.zeros_like(moment)
    for turn in range(_PIVOTS):
        both = free[:, :, None] & free[:, None, :]
        system = np.where(both, gram, one)
        w = np.linalg.solve(system, np.where(free, moment, 0.0)[:, :, None])[:, :, 0]
        slope = np.einsum("nkl,nl->nk", gram, w) - moment
        wrong = (free & (w < -_TINY)) | (~free & (slope < -_TINY))
        if not wrong.any():
            break
        if turn >= size:
            wrong &= np.cumsum(wrong, axis=1) == 1
        free ^= wrong
    return np.maximum(w, 0.0)


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
    share = (position - low).reshape(-1, *[1] * (table.ndim - 1))
    return np.asarray(table[low] * (1 - share) + table[high] * share)
