"""The error budget: what a violation is worth, steered by how much of the budget is left.

The planner trades unit-seconds against requests outside the SLO at one price (`layers`). Ahead of
the target the price falls and the plan is lean, behind it rises and the plan is generous.
"""

from __future__ import annotations

import math

GAIN = 2.0
"""A whole day's budget overspent multiplies the price by exp(GAIN)."""
MOST = 20.0


def price_factor(
    outside: float, requests: float, allowed_share: float, day_requests: float
) -> float:
    """Factor on the price of a violation.

    Parameters
    ----------
    outside, requests : float
        Requests outside the SLO so far, and all of them, in the budget's window.
    allowed_share : float
        1 - attainment target.
    day_requests : float
        Requests of a day: the overspent budget is measured in days of budget.

    Returns
    -------
    float
        1 on budget, above 1 behind the target, below 1 ahead of it; within 1/20 and 20.

    Examples
    --------
    On budget nothing changes; half a day's budget overspent makes a violation e times as dear.

    >>> price_factor(100, 10_000, 0.01, 1e6)
    1.0
    >>> round(price_factor(5_100, 10_000, 0.01, 1e6), 3)
    2.718
    """
    budget = allowed_share * day_requests
    if budget <= 0:
        return 1.0
    overspent = (outside - allowed_share * requests) / budget
    return min(max(math.exp(GAIN * overspent), 1 / MOST), MOST)
