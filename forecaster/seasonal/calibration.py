"""Conformal quantiles: what verified errors were, per lead, on the log scale.

Split conformal with the finite-sample rank (Vovk et al., 2005): the q-quantile is the
ceil((n + 1) q)-th smallest verified error. Recent errors weigh more (Barber et al., 2023).
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray

LEVELS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995)
"""Levels that are calibrated and stored; others are interpolated."""


def conformal_quantiles(
    errors: FloatArray,
    weight: FloatArray,
    levels: tuple[float, ...] = LEVELS,
    overlap: float = 1.0,
) -> FloatArray:
    """Finite-sample quantiles of the errors of N series, float64[Q, N]; 0 where there is none.

    Parameters
    ----------
    errors : float64[n, N]
        Verified errors; NaN is left out.
    weight : float64[n]
        Weight of each, relative to the others.
    overlap : float
        Errors that say as much as one independent error, >= 1: those of a lead of a day, made every
        hour, share most of their day.

    Examples
    --------
    >>> errors = np.arange(1.0, 10.0)[:, None]
    >>> conformal_quantiles(errors, np.ones(9), (0.5, 0.9)).ravel()
    array([5., 9.])
    """
    q = np.asarray(levels)
    if not errors.shape[0]:
        return np.zeros((q.size, errors.shape[1]))
    order = np.argsort(errors, axis=0)  # missing ones come last
    value = np.take_along_axis(errors, order, axis=0)
    mass = np.where(np.isfinite(value), weight[order], 0.0)
    below = np.cumsum(mass, axis=0)
    total = below[-1]
    known = np.isfinite(value).sum(axis=0)
    # as many errors of equal weight would say as much (Kish)
    count = np.where(total > 0, total**2 / np.maximum((mass**2).sum(axis=0), 1e-300), 1.0)
    # the finite sample moves every rank outwards, and leaves the median where it is
    share = q[:, None] + (2 * q[:, None] - 1) * overlap / count
    at = np.clip(_ranks(below, (share - 1e-9) * total), 0, np.maximum(known - 1, 0))
    found = np.where(known > 0, np.take_along_axis(value, at, axis=0), 0.0)
    return _beyond(found, q, share)


def _beyond(found: FloatArray, q: FloatArray, share: FloatArray) -> FloatArray:
    """Quantiles further out than the furthest error go on from it as a normal tail does.

    The least level that is out of reach is the furthest error, as conformal prediction has it; for those behind it
    few errors say nothing, and the same value for all of them would be too near.
    """
    from scipy.special import ndtri

    middle = int(np.argmin(np.abs(q - 0.5)))
    for row in range(middle + 2, q.size):
        grown = found[middle] + (found[row - 1] - found[middle]) * ndtri(q[row]) / ndtri(q[row - 1])
        found[row] = np.where(share[row - 1] > 1.0, np.maximum(grown, found[row]), found[row])
    for row in range(middle - 2, -1, -1):
        grown = found[middle] + (found[row + 1] - found[middle]) * ndtri(q[row]) / ndtri(q[row + 1])
        found[row] = np.where(share[row + 1] < 0.0, np.minimum(grown, found[row]), found[row])
    return found


@numba.njit(cache=True)
def _ranks(below: FloatArray, bound: FloatArray) -> npt.NDArray[np.int64]:
    """How many of ``below[n, N]`` lie under each of ``bound[Q, N]``, int64[Q, N]."""
    found = np.zeros(bound.shape, np.int64)
    for t in range(below.shape[0]):
        for row in range(bound.shape[0]):
            for n in range(bound.shape[1]):
                found[row, n] += below[t, n] < bound[row, n]
    return found


def interpolate_levels(table: FloatArray, levels: FloatArray) -> FloatArray:
    """Errors at other levels, linear in the normal score, float64[H, Q, N].

    Parameters
    ----------
    table : float64[H, len(LEVELS), N]
        Errors at the stored levels.
    """
    from scipy.special import ndtri

    position = np.interp(
        ndtri(levels), ndtri(np.asarray(LEVELS)), np.arange(len(LEVELS), dtype=float)
    )
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, len(LEVELS) - 1)
    share = (position - low)[:, None]
    return np.asarray(table[:, low] * (1 - share) + table[:, high] * share)
