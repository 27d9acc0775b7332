"""The lead time as measured: from the order of a unit to its answered warm-up request."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from forecaster.domain.lifecycle import UnitState
from forecaster.domain.units import UnitEvent

LEVEL = 0.9
PRIOR_WEIGHT = 3
"""The configured lead counts as this many measurements."""


def lead_times_s(events: Sequence[UnitEvent]) -> list[float]:
    """Seconds from the first event of each unit to its READY, in order of readiness.

    Units of which nobody saw when they became ready are left out.
    """
    ordered: dict[str, float] = {}
    leads = []
    for event in sorted(events, key=lambda e: (e.tier, e.seq)):
        ordered.setdefault(event.unit_id, event.at_s - event.seconds)
        if event.after is UnitState.READY and not math.isnan(event.seconds):
            leads.append(event.at_s - ordered[event.unit_id])
    return leads


def lead_p90_s(leads: Sequence[float], prior_s: float, recent: int = 50) -> float:
    """90th percentile of the last leads, with the configured one as a prior, seconds.

    Examples
    --------
    >>> lead_p90_s([], 60.0)
    60.0
    """
    sample = [*([prior_s] * max(PRIOR_WEIGHT - len(leads), 0)), *leads[-recent:]]
    return float(np.quantile(sample, LEVEL))
