"""The scale on which everything is learnt: z = log1p(y / c), c a fraction of the mean.

Plain log1p over-weights gaps near zero; c = 0.2 of the mean keeps small counts linear and large
ones relative (research/forecasting.md, section 3).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray

SOFTNESS = 0.2
Z_MAX = 25.0
"""exp(25) times the mean is no forecast: clip before it overflows."""


def scale_of(Y: FloatArray, mask: npt.NDArray[np.bool_]) -> FloatArray:
    """Return c for each series, float64[N] > 0.

    Examples
    --------
    >>> scale_of(np.array([[10.0], [30.0]]), np.array([[True], [True]]))
    array([4.])
    """
    total = np.where(mask, Y, 0.0).sum(axis=0)
    mean = total / np.maximum(mask.sum(axis=0), 1)
    return np.where(mean > 0.0, SOFTNESS * mean, 1.0)


def to_z(Y: FloatArray, scale: FloatArray) -> FloatArray:
    """Demand to z; NaN stays NaN."""
    return np.asarray(np.log1p(np.maximum(Y, 0.0) / scale))


def from_z(Z: FloatArray, scale: FloatArray) -> FloatArray:
    """Invert `to_z`; never negative."""
    return np.asarray(np.expm1(np.clip(Z, 0.0, Z_MAX)) * scale)
