"""Lids: hours in which demand is censored, told by what no free traffic has: hardly any noise."""

from __future__ import annotations

import numpy as np

from forecaster.demand.runs import BoolArray
from forecaster.demand.usual import HOUR_S, Usual
from forecaster.domain.demand import FloatArray

STILL = 0.1
"""An hour with less than this share of the usual noise between slots is still."""
LEAST_SHARE = 0.5
"""And it is no quiet night: at least this share of the mean demand."""
SHORT_Z = -0.1
"""And less came than usual, on the log scale."""
COARSEST_S = 900.0
"""An hour of longer slots has too few of them to be called still."""


def lids(Y: FloatArray, off: Usual, slot_s: float) -> BoolArray:
    """Hours of ``Y[T, N]`` under a lid, bool[hours, N]; none where slots are longer than 15 min."""
    per_hour = max(round(HOUR_S / slot_s), 1)
    hours = Y.shape[0] // per_hour
    if slot_s > COARSEST_S:
        return np.zeros((hours, Y.shape[1]), np.bool_)
    y = Y[: hours * per_hour].reshape(hours, per_hour, -1)
    mean = y.mean(axis=1)
    change = np.diff(y, axis=1)
    noise = (change**2).mean(axis=1) / np.maximum(mean, 1e-9)  # of the variance over the mean
    known = np.isfinite(noise) & (mean > 0)
    usual_noise = np.array(
        [np.median(noise[k, n]) if k.any() else 0.0 for n, k in enumerate(known.T)]
    )
    whole = np.nan_to_num(mean).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    coarse = off.off[: hours * (per_hour // off.per)].reshape(hours, per_hour // off.per, -1)
    short = coarse.mean(axis=1) < SHORT_Z
    still = known & (noise < STILL * usual_noise) & (mean > LEAST_SHARE * whole)
    return np.asarray(still & short)
