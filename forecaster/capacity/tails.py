"""Distributions in closed form: what the latency formulas average over and how their tails fall."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from forecaster.domain.demand import FloatArray

_EDGES = np.linspace(-3.2, 3.2, 33)
SCORES = (_EDGES[1:] + _EDGES[:-1]) / 2
"""Normal scores that stand for a token length: even in the score, so that tails are fine."""
WEIGHTS = np.diff(ndtr(np.concatenate([[-np.inf], _EDGES[1:-1], [np.inf]])))
"""Probability of each score."""
THREE_SCORES = np.array([-np.sqrt(3.0), 0.0, np.sqrt(3.0)])
THREE_WEIGHTS = np.array([1.0, 4.0, 1.0]) / 6
"""Gauss-Hermite: three points with the first five moments of a normal."""
WINDOW_S = 10.0
"""Counts over this long have the stated index of dispersion."""


def lengths(mean: float, second_moment: float) -> FloatArray:
    """Token lengths of a lognormal with these moments at `SCORES`, float64[32]."""
    if mean <= 0:
        return np.zeros(SCORES.size)
    sigma2 = np.log1p(max(second_moment / mean**2 - 1.0, 0.0))
    return np.asarray(mean * np.exp(SCORES * np.sqrt(sigma2) - sigma2 / 2))


def gamma_exceeds(x: FloatArray, mean: FloatArray, variance: FloatArray) -> FloatArray:
    """P(X > x) of a gamma with these moments: its cube root is nearly normal.

    Wilson and Hilferty (1931).

    Examples
    --------
    >>> float(gamma_exceeds(np.array(3.0), np.array(1.0), np.array(1.0)).round(3))  # exp(-3) = 0.050
    0.048
    """
    mean = np.maximum(mean, 1e-12)
    scv = np.clip(variance / mean**2, 1e-12, None)
    root = np.cbrt(np.maximum(x, 0.0) / mean)
    return np.where(x < 0, 1.0, ndtr((1 - scv / 9 - root) * 3 / np.sqrt(scv)))


def rate_points(dispersion: float, rate_rps: float) -> tuple[FloatArray, FloatArray]:
    """Factors on the arrival rate of one window, and their probabilities.

    A gamma rate with the variance that makes counts over `WINDOW_S` as dispersed as stated, at
    three points; a single 1 for Poisson arrivals.
    """
    scv = max(dispersion - 1.0, 0.0) / (rate_rps * WINDOW_S)
    if scv < 1e-6:
        return np.ones(1), np.ones(1)
    factors = np.maximum(1 - scv / 9 + THREE_SCORES * np.sqrt(scv) / 3, 0.1) ** 3
    return factors / (factors @ THREE_WEIGHTS), THREE_WEIGHTS


def share_that_follows(relaxation_s: FloatArray) -> FloatArray:
    """Share of the variance of the window rates that a slow process follows.

    A first-order response of time T to rates that are constant over windows w:
    ``1 - T/w (1 - exp(-w/T))``.
    """
    y = np.clip(relaxation_s / WINDOW_S, 1e-6, 1e6)
    return np.asarray(np.clip(1 - y * -np.expm1(-1 / y), 0.0, 1.0))


def lifetime_average(x: FloatArray) -> FloatArray:
    """Variance left when a process of relaxation time T is averaged over x T.

    For an exponential correlation: ``2 (x - 1 + exp(-x)) / x**2``.
    """
    x = np.maximum(x, 1e-3)
    return np.asarray(2 * (x + np.expm1(-x)) / x**2)
