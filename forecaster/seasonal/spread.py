"""How large errors are at each level of demand: counting noise fades as traffic grows.

The variance of a slot's demand y is modelled as ``share * y**2 + noise * y``: a tide missed by a
factor, and the noise of counting (over-dispersed where requests come in bursts or differ in size).
On the scale z = log1p(y / c) an error of dy is ``dy / (y + c)``. Conformal quantiles are taken of
errors in units of this spread (normalised conformal prediction: Papadopoulos et al., 2008), so that
the peak is not provisioned for the noise of the night. Levels are in units of c throughout.
"""

from __future__ import annotations

import numpy as np

from forecaster.domain.demand import FloatArray

ERRORS_LEAST = 50
_ROUNDS = 3
_OUTLIER = 9.0
"""Squared errors above this many times the model's are an incident, not noise."""
_LEAST, _MOST = 1e-4, 1e4
_LEVEL_LEAST = 0.5
"""Below this many c (a tenth of the mean) errors are thought no smaller: silence is not certainty."""
_MEDIAN_OF_SQUARE = 0.455
"""Median of a squared standard normal."""


def fit_spread(error_z: FloatArray, level: FloatArray) -> FloatArray:
    """Fit (share, noise) to verified errors by iteratively weighted non-negative least squares.

    Parameters
    ----------
    error_z : float64[n, N]
        Errors on the z scale; NaN where missing.
    level : float64[n, N]
        The demand that was forecast, in units of c.

    Returns
    -------
    float64[2, N]
        (share, noise); noise in units of c.

    Examples
    --------
    Too few errors: the spread is the same everywhere on the log scale.

    >>> fit_spread(np.zeros((3, 1)), np.ones((3, 1))).ravel()
    array([1., 0.])
    """
    seen = np.isfinite(error_z) & (level > 0)
    count = seen.sum(axis=0)
    y = np.maximum(np.where(seen, level, 1.0), _LEVEL_LEAST)
    square = np.minimum(np.where(seen, error_z, 0.0) ** 2, _MOST)
    tide, counting = (y / (y + 1)) ** 2, y / (y + 1) ** 2
    median = np.median(np.where(seen, square, np.inf), axis=0)
    start = np.where(np.isfinite(median), median, square.mean(axis=0)) / _MEDIAN_OF_SQUARE
    variance = np.broadcast_to(np.clip(start, _LEAST, _MOST), y.shape)
    found = np.zeros((2, y.shape[1]))
    for _ in range(_ROUNDS):
        weight = seen / variance**2
        target = np.minimum(square, _OUTLIER * variance)
        found = _two_non_negative(tide, counting, target, weight)
        variance = np.clip(found[0] * tide + found[1] * counting, _LEAST, _MOST)
    unknown = (count < ERRORS_LEAST) | ~found.any(axis=0)
    return np.where(unknown, np.array([[1.0], [0.0]]), found)


def spread_at(spread: FloatArray, level: FloatArray) -> FloatArray:
    """Size of an error on the z scale at a level of demand (in units of c), never below 1 %.

    Parameters
    ----------
    spread : float64[..., 2, N]
        (share, noise), one for all or one for each level.
    """
    share, noise = spread[..., 0, :], spread[..., 1, :]
    y = np.maximum(level, _LEVEL_LEAST)
    variance = (share * y**2 + noise * y) / (y + 1) ** 2
    return np.asarray(np.sqrt(np.maximum(variance, _LEAST)))


def _two_non_negative(
    a: FloatArray, b: FloatArray, target: FloatArray, weight: FloatArray
) -> FloatArray:
    """Least squares of the target on two columns, both coefficients >= 0, float64[2, N]."""
    aa, ab, bb = (weight * a * a).sum(0), (weight * a * b).sum(0), (weight * b * b).sum(0)
    at, bt = (weight * a * target).sum(0), (weight * b * target).sum(0)
    determinant = np.maximum(aa * bb - ab * ab, 1e-300)
    first, second = (bb * at - ab * bt) / determinant, (aa * bt - ab * at) / determinant
    only_a, only_b = at / np.maximum(aa, 1e-300), bt / np.maximum(bb, 1e-300)
    # outside the quadrant the better edge is the one that explains more
    edge_a = at * only_a >= bt * only_b
    inside = (first >= 0) & (second >= 0)
    return np.stack(
        [
            np.where(inside, first, np.where(edge_a, only_a, 0.0)),
            np.where(inside, second, np.where(edge_a, 0.0, only_b)),
        ]
    )
