"""The price of a violation, verified: what past forecasts would have had to pay to spend the budget."""

from __future__ import annotations

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.planning.layers import violation_price_s

VERIFIED_DAYS = 7
"""Days of verified forecasts that set the price of a violation."""


def verified_price_s(
    foreseen_rps: FloatArray,
    happened_rps: FloatArray,
    rate_rps: FloatArray,
    share: float,
    day: int,
    step: int = 1,
    prices: FloatArray | None = None,
) -> float:
    """Unit-seconds a request outside is worth, by the last days before now.

    The median over days: an incident that no price could have carried does not make every hour
    dear. NaN with less than half a day of verified forecasts.

    Parameters
    ----------
    foreseen_rps, happened_rps : float64[K, N + 1]
        Expected requests/s outside with 0..N units by the forecast made one lead before each
        slot, and at the load that came; the newest last.
    rate_rps : float64[K]
        Requests/s that came.
    share : float
        1 - attainment target.
    day : int
        Slots of a day.
    prices : float64[K] or None
        Of units, see `layers.step_costs`.
    """
    size = rate_rps.size
    ends = list(range(size, day // 2, -day))[:VERIFIED_DAYS]
    found = []
    for end in ends:
        at = slice(max(end - day, 0), end)
        seen = foreseen_rps[at], happened_rps[at], rate_rps[at]
        found.append(violation_price_s(*seen, share, step, prices))
    return float(np.median(found)) if found else float("nan")
