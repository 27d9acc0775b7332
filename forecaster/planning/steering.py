"""Error-budget steering: how much of the predicted capacity is believed, by what was kept.

A formula's profile is measured on a quiet unit; a busy machine, a shared GPU or a new token mix does
less. The share of requests outside the SLO, against the share that may be, says how much less.
"""

from __future__ import annotations

GAIN = 0.1
LEAST, MOST = 0.5, 1.0
WORST_RATIO = 4.0
"""One bad window never takes more than GAIN * (WORST_RATIO - 1) of the belief."""


def steer(believed: float, inside: int, total: int, target: float) -> float:
    """Share of the predicted capacity to believe from now on.

    Parameters
    ----------
    believed : float
        The share so far, 0.5 to 1.
    inside, total : int
        Requests of the last window inside the SLO, and all of them.
    target : float
        Attainment target: 1 - target is the error budget.

    Examples
    --------
    On budget nothing changes; twice over it, a tenth less is believed.

    >>> steer(0.9, 198, 200, 0.99)
    0.9
    >>> round(steer(0.9, 196, 200, 0.99), 3)
    0.81
    """
    if total <= 0:
        return believed
    ratio = min((total - inside) / total / (1.0 - target), WORST_RATIO)
    wanted = believed * (1.0 + GAIN * (1.0 - ratio))
    return round(min(max(wanted, LEAST), MOST), 6)
