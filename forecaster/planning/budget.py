"""Error-budget steering: how much of the forecast load is planned for, by what is left of the budget.

The planner knows what a violation is worth (`layers.violation_price_s`), not how wrong its capacity
curve is today: another token mix, a busy host, a router of another kind. What was kept of the SLO
says so. Ahead of the target the same load is planned for as if it were less, behind it as if it
were more: integral control on the error budget, slower towards more units than towards fewer.
"""

from __future__ import annotations

import math

REPAID = 0.25
"""A whole day's budget overspent multiplies the load by exp(REPAID): it is repaid over days.

Paid back within one, the same attainment takes 2 to 14 % more unit-hours in the replay: units bought in
a hurry save little.
"""
SPARED = 1.0
"""A whole day's budget that the planner was too careful with multiplies the load by exp(-SPARED)."""
LEAST, MOST = 0.2, 1.6
"""However far off the budget is, no plan is made for less or more than these times the load."""


def load_factor(
    outside: float,
    requests: float,
    foreseen: float,
    allowed_share: float,
    day_requests: float,
) -> float:
    """Factor on the load that is planned for.

    What was overspent is repaid. What was not spent is spent only as far as the planner was too careful:
    fewer requests were outside than it foresaw with the units that were there. Units come whole, and
    the slack of the last one is no reason to plan for less load than is expected.

    Parameters
    ----------
    outside, requests : float
        Requests outside the SLO so far, and all of them, in the budget's window.
    foreseen : float
        Requests outside that were expected with the units that were ready.
    allowed_share : float
        1 - attainment target.
    day_requests : float
        Requests of a day: what is over- or underspent is measured in days of budget.

    Returns
    -------
    float
        1 on budget, above 1 behind the target, below 1 ahead of it; within 0.2 and 1.6.

    Examples
    --------
    On budget nothing changes; a day's budget overspent plans for a quarter more load; what was
    foreseen not to be spent is not spent now.

    >>> load_factor(100, 10_000, 100, 0.01, 1e6)
    1.0
    >>> round(load_factor(10_100, 10_000, 100, 0.01, 1e6), 3)
    1.284
    >>> load_factor(0, 100_000, 0, 0.01, 1e6)
    1.0
    >>> round(load_factor(0, 100_000, 5_000, 0.01, 1e6), 3)
    0.905
    """
    budget = allowed_share * day_requests
    if budget <= 0:
        return 1.0
    overspent = (outside - allowed_share * requests) / budget
    if overspent >= 0:
        return math.exp(min(REPAID * overspent, math.log(MOST)))
    too_careful = max(overspent, min((outside - foreseen) / budget, 0.0))
    return max(math.exp(SPARED * too_careful), LEAST)
