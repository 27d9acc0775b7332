"""How large errors are at each level of demand: counting noise fades as traffic grows.

The variance of a slot's demand y is modelled as ``share * y**2 + noise * y``: a tide missed by a
factor, and the noise of counting (over-dispersed where requests come in bursts or differ in size).
On the scale z = log1p(y / c) an error of dy is ``dy / (y + c)``. Conformal quantiles are taken of
errors in units of this spread (normalised conformal prediction: Papadopoulos et al., 2008), so that
the peak is not provisioned for the noise of the night.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from forecaster.domain.demand import FloatArray

_ROUNDS = 3
_OUTLIER = 9.0
"""Squared errors above this many times the model's are an incident, not noise."""
_LEAST = 1e-4
_LEVEL_LEAST = 0.5
"""Below this many c (a tenth of the mean) errors are thought no smaller: silence is not certainty."""


def fit_spread(error_z: FloatArray, level: FloatArray, scale: float) -> tuple[float, float]:
    """Fit (share, noise) to verified errors by iteratively weighted non-negative least squares.

    Parameters
    ----------
    error_z : float64[n]
        Errors on the z scale; NaN where missing.
    level : float64[n]
        The demand that was forecast.
    scale : float
        The z scale's c.

    Examples
    --------
    Too few errors: the spread is the same everywhere on the log scale.

    >>> fit_spread(np.zeros(3), np.ones(3), 1.0)
    (1.0, 0.0)
    """
    seen = np.isfinite(error_z) & (level > 0)
    if seen.sum() < 50:
        return 1.0, 0.0
    y, square = np.maximum(level[seen], _LEVEL_LEAST * scale), error_z[seen] ** 2
    columns = np.stack([y**2, y], axis=1) / (y[:, None] + scale) ** 2
    variance = np.full(y.size, max(float(np.median(square)) / 0.455, _LEAST))
    found = np.array([1.0, 0.0])
    for _ in range(_ROUNDS):
        weight = 1.0 / variance
        target = np.minimum(square, _OUTLIER * variance)
        found, _ = nnls(columns * weight[:, None], target * weight)
        variance = np.maximum(columns @ found, _LEAST)
    if not found.any():
        return 1.0, 0.0
    return float(found[0]), float(found[1])


def spread_at(spread: FloatArray, level: FloatArray, scale: float) -> FloatArray:
    """Size of an error on the z scale at a level of demand, never below 1 %.

    Parameters
    ----------
    spread : float64[2] or float64[n, 2]
        (share, noise), one for all or one for each level.
    """
    share, noise = spread[..., 0], spread[..., 1]
    y = np.maximum(level, _LEVEL_LEAST * scale)
    variance = (share * y**2 + noise * y) / (y + scale) ** 2
    return np.asarray(np.sqrt(np.maximum(variance, _LEAST)))
