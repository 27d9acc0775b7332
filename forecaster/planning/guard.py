"""The guard: arrivals that the band does not allow for, seen within a minute."""

from __future__ import annotations

import math

WINDOW_S = 60.0
"""How long arrivals are counted before the band is doubted, at least."""
SIGMAS = 4.0
"""Counting noise that is allowed on top of the band."""
LEAST_COUNT = 10
"""Fewer arrivals than this are never an alarm."""


def breached(count: int, window_s: float, high_rate_rps: float, dispersion: float) -> bool:
    """Whether a count of arrivals lies above the band and its counting noise.

    Parameters
    ----------
    count : int
        Arrivals in the window.
    high_rate_rps : float
        The rate that the forecast holds for all but impossible (its 0.99 quantile), requests/s.
    dispersion : float
        Variance over mean of the counts, 1 for Poisson.

    Examples
    --------
    600 are foreseen at most in a minute; chance makes 700 of it, not 720:

    >>> breached(690, 60.0, 10.0, 1.0), breached(720, 60.0, 10.0, 1.0)
    (False, True)
    """
    foreseen = high_rate_rps * window_s
    allowed = foreseen + SIGMAS * math.sqrt(max(dispersion, 1.0) * max(foreseen, 1.0))
    return count >= LEAST_COUNT and count > allowed
