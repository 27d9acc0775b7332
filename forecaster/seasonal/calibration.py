"""Conformal quantiles: what verified errors were, per lead, on the log scale.

Split conformal with the finite-sample rank (Vovk et al., 2005): the q-quantile is the
ceil((n + 1) q)-th smallest verified error.
"""

from __future__ import annotations

import numpy as np

from forecaster.domain.demand import FloatArray

LEVELS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995)
"""Levels that are calibrated and stored; others are interpolated."""


def conformal_quantiles(errors: FloatArray, levels: tuple[float, ...] = LEVELS) -> FloatArray:
    """Finite-sample quantiles of `errors` (NaN left out), float64[Q].

    Examples
    --------
    >>> conformal_quantiles(np.arange(1.0, 10.0), (0.5, 0.9))
    array([5., 9.])
    """
    seen = np.sort(errors[np.isfinite(errors)])
    if seen.size == 0:
        return np.zeros(len(levels))
    q = np.asarray(levels)
    # upper levels round their rank up, lower ones down: both err on the wide side
    rank = np.where(q >= 0.5, np.ceil((seen.size + 1) * q), np.floor((seen.size + 1) * q))
    return np.asarray(seen[np.clip(rank.astype(int) - 1, 0, seen.size - 1)])


def interpolate_levels(table: FloatArray, levels: FloatArray) -> FloatArray:
    """Errors at other levels, linear in the normal score, float64[H, Q]."""
    from scipy.special import ndtri

    position = np.interp(
        ndtri(levels), ndtri(np.asarray(LEVELS)), np.arange(len(LEVELS), dtype=float)
    )
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, len(LEVELS) - 1)
    share = position - low
    return np.asarray(table[:, low] * (1 - share) + table[:, high] * share)
