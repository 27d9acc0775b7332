"""Neighbouring fleets share what their trials say: a curve is smooth over the number of units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forecaster.capacity.curve import LEVELS, Curve, rising
from forecaster.domain.demand import FloatArray, IntArray

AMPLITUDE = 0.05
"""How far (in logarithm) loads lie off a straight line over ``1 / sqrt(units)``."""
REACH_OCTAVES = 2.5
"""Doublings of the fleet over which that changes."""
LEAST_ERROR = 1e-3
"""No trial is believed to be better."""
VAGUE = 3.0


def smoothed(units: IntArray, curves: Sequence[Curve]) -> FloatArray:
    """Loads per unit at `LEVELS`, float64[U, levels], averaged over neighbours by their errors.

    At each level the logarithm of the load is a line over ``1 / sqrt(units)`` (fluctuations fall
    with the root of the fleet) plus a smooth Gaussian process over ``log(units)``; the posterior mean
    weighs each fleet's own trials against what its neighbours say (Rasmussen and Williams 2006, 2.23).
    """
    rates = np.array([each.rate_per_unit_rps for each in curves])
    if units.size < 3:
        return np.array([rising(row) for row in rates])
    errors = np.maximum(np.array([each.error for each in curves]), LEAST_ERROR)
    line = np.stack([np.ones(units.size), 1 / np.sqrt(units)])
    octaves = np.log2(units)
    apart = (octaves[:, None] - octaves[None, :]) / REACH_OCTAVES
    prior = VAGUE**2 * (line.T @ line) + AMPLITUDE**2 * np.exp(-(apart**2) / 2)
    out = rates.copy()
    for g in range(LEVELS.size):
        if rates[:, g].min() <= 1e-3 * rates[:, g].max():
            continue
        y = np.log(rates[:, g])
        weights = np.linalg.solve(prior + np.diag(errors[:, g] ** 2), y - y.mean())
        out[:, g] = np.exp(y.mean() + prior @ weights)
    return np.array([rising(row) for row in out])
