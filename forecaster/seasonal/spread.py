"""How large errors are at each level of demand: counting noise fades as traffic grows.

The variance of a slot's demand y is modelled as ``share * y**2 + noise * y``: a tide missed by a
factor, and the noise of counting (over-dispersed where requests come in bursts or differ in size).
On the scale z = log1p(y / c) an error of dy is ``dy / (y + c)``. Conformal quantiles are taken of
errors in units of this spread (normalised conformal prediction: Papadopoulos et al., 2008), so that
the peak is not provisioned for the noise of the night. Levels are in units of c throughout.
"""

from __future__ import annotations

import numba
import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.seasonal.member import BoolArray

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
    median = np.median(np.where(seen, square, np.inf), axis=0)
    start = np.where(np.isfinite(median), median, square.mean(axis=0)) / _MEDIAN_OF_SQUARE
    flat, found = np.clip(start, _LEAST, _MOST), np.zeros((2, y.shape[1]))
    for _ in range(_ROUNDS):
        found = _two_non_negative(_sums(square, y, seen, found, flat))
        flat = np.full(flat.shape, np.nan)
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


@numba.njit(cache=True)
def _sums(
    square: FloatArray, y: FloatArray, seen: BoolArray, model: FloatArray, flat: FloatArray
) -> FloatArray:
    """Weighted squares and products of both columns and of the squared errors, float64[5, N].

    The weight is that of the model's variance, or of `flat` where that is known.
    """
    sums = np.zeros((5, y.shape[1]))
    for t in range(y.shape[0]):
        for n in range(y.shape[1]):
            above = y[t, n] + 1.0
            tide, counting = (y[t, n] / above) ** 2, y[t, n] / above**2
            variance = min(max(model[0, n] * tide + model[1, n] * counting, _LEAST), _MOST)
            if not np.isnan(flat[n]):
                variance = flat[n]
            weight = seen[t, n] / variance**2
            target = min(square[t, n], _OUTLIER * variance)
            sums[0, n] += weight * tide * tide
            sums[1, n] += weight * tide * counting
            sums[2, n] += weight * counting * counting
            sums[3, n] += weight * tide * target
            sums[4, n] += weight * counting * target
    return sums


def _two_non_negative(sums: FloatArray) -> FloatArray:
    """Least squares of a target on two columns, both coefficients >= 0, float64[2, N].

    Parameters
    ----------
    sums : float64[5, N]
        Of a a, a b, b b, a times the target, b times the target.
    """
    aa, ab, bb, at, bt = sums
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
