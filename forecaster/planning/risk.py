"""Expected violations: the load's whole predictive distribution through the capacity curve.

A quantile of the load answers "how often is the fleet too small"; users feel "how many requests are
outside the SLO", which is the mean of the violation share over the distribution, each load weighted
with its requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from forecaster.domain.demand import FloatArray

_BODY = np.linspace(0.0, 0.9, 19)
_TAIL = 1.0 - np.geomspace(0.1, 2e-4, 23)[1:]
_EDGES = np.concatenate([_BODY, _TAIL, [1.0]])
NODES = (_EDGES[1:] + _EDGES[:-1]) / 2
"""Levels at which the distribution is evaluated: even in the body, dense in the tail that violates."""
WEIGHTS = np.diff(_EDGES)
_GRID_STEPS = 1.02
"""Ratio of two loads of the grid on which a curve is tabulated."""
_LEAST = 1e-9
HOPELESS = 0.1
"""Share outside with the largest fleet from which on a load is beyond it."""


class Curve(Protocol):
    """What a fleet does to its requests; `forecaster.capacity.tables.SizingTable` is one."""

    def violation_share(
        self, units: npt.NDArray[np.int64] | int, rate_rps: FloatArray
    ) -> FloatArray:
        """Share of the requests outside the SLO at `units` ready units and an arrival rate."""
        ...


@dataclass(frozen=True, slots=True)
class Grid:
    """A capacity curve tabulated over loads and units.

    Attributes
    ----------
    log_low, log_step : float
        First log load and the step between two.
    outside_rps : float64[G, N + 1]
        Requests/s outside the SLO at each load with 0..N units.
    """

    log_low: float
    log_step: float
    outside_rps: FloatArray

    @property
    def max_units(self) -> int:
        """Most units."""
        return int(self.outside_rps.shape[1]) - 1

    def at(self, rate_rps: FloatArray) -> FloatArray:
        """Requests/s outside at certain loads, float64[T, N + 1]; none at a load of zero."""
        place = (np.log(np.maximum(rate_rps, _LEAST)) - self.log_low) / self.log_step
        place = np.clip(place, 0.0, self.outside_rps.shape[0] - 1.000001)
        low = place.astype(np.int64)
        share = (place - low)[:, None]
        found = (1 - share) * self.outside_rps[low] + share * self.outside_rps[low + 1]
        return np.asarray(np.where(rate_rps[:, None] > 0, found, 0.0))


def tabulate(curve: Curve, least_rps: float, most_rps: float, max_units: int) -> Grid:
    """Tabulate a curve from `least_rps` to `most_rps` for 0..`max_units` units."""
    low = max(least_rps, _LEAST)
    high = max(most_rps, low * _GRID_STEPS)
    count = int(np.ceil(np.log(high / low) / np.log(_GRID_STEPS))) + 2
    rates: FloatArray = low * np.exp(np.log(_GRID_STEPS) * np.arange(count))
    share = np.ones((count, max_units + 1))
    for units in range(1, max_units + 1):
        share[:, units] = curve.violation_share(units, rates)
    # more units never hurt
    share = np.minimum.accumulate(share, axis=1)
    outside = share * rates[:, None]
    # beyond what the largest fleet can save at all, a unit is worth what it was worth there: the
    # planner never gives up because the load is hopeless
    hopeless = int(np.searchsorted(share[:, -1] > HOPELESS, True))
    last = max(hopeless - 1, 0)
    outside[hopeless:] = outside[last] + (rates[hopeless:] - rates[last])[:, None]
    return Grid(float(np.log(low)), float(np.log(_GRID_STEPS)), outside)


@lru_cache(maxsize=64)
def node_matrix(levels: tuple[float, ...]) -> FloatArray:
    """Weights that turn log quantiles into log loads at `NODES`, float64[Q, K].

    Linear in the normal score between the levels and beyond them: a lognormal stays one.

    Examples
    --------
    >>> bool(np.allclose(node_matrix((0.1, 0.5, 0.9)).sum(axis=0), 1.0))
    True
    """
    score, at = ndtri(np.asarray(levels)), ndtri(NODES)
    left = np.clip(np.searchsorted(score, at) - 1, 0, score.size - 2)
    share = (at - score[left]) / (score[left + 1] - score[left])
    matrix = np.zeros((score.size, at.size))
    matrix[left, np.arange(at.size)] = 1.0 - share
    matrix[left + 1, np.arange(at.size)] += share
    return matrix


def mean_rps(quantiles_rps: FloatArray, levels: Sequence[float]) -> FloatArray:
    """Mean of the distribution that the quantiles describe, float64[T]."""
    logs = np.log(np.maximum(quantiles_rps, _LEAST)) @ node_matrix(tuple(levels))
    return np.asarray(np.exp(logs) @ WEIGHTS)


def expected_outside_rps(
    quantiles_rps: FloatArray, levels: Sequence[float], grid: Grid
) -> tuple[FloatArray, FloatArray]:
    """Expected requests/s outside the SLO in each slot with 0..N units, and expected requests/s.

    Parameters
    ----------
    quantiles_rps : float64[T, Q]
        Quantiles of the arrival rate in each slot, rising along Q.
    levels : sequence of float
        Their levels, rising.
    grid : Grid
        The capacity curve; loads outside its range are taken at its edge.

    Returns
    -------
    outside_rps : float64[T, N + 1]
        Never rising along the units.
    rate_rps : float64[T]
        Mean of the distribution.
    """
    logs = np.log(np.maximum(quantiles_rps, _LEAST)) @ node_matrix(tuple(levels))
    rows, steps = logs.shape[0], grid.outside_rps.shape[0]
    place = np.clip((logs - grid.log_low) / grid.log_step, 0.0, steps - 1.000001)
    low = place.astype(np.int64)
    share = place - low
    weights = np.broadcast_to(WEIGHTS, logs.shape)
    flat = (np.arange(rows)[:, None] * steps + low).ravel()
    mass = np.bincount(flat, (weights * (1 - share)).ravel(), minlength=rows * steps)
    mass += np.bincount(flat + 1, (weights * share).ravel(), minlength=rows * steps + 1)[
        : rows * steps
    ]
    return mass.reshape(rows, steps) @ grid.outside_rps, np.exp(logs) @ WEIGHTS
