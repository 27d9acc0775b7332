"""What the planner may do for one service, in one value."""

from __future__ import annotations

from dataclasses import dataclass, field

from forecaster.domain.service import Limits

PLAN_LEVEL = 0.95
"""Quantile of the load that is provisioned for."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules of one service.

    Attributes
    ----------
    elasticity : float
        0..1: share of the gap to the peak that may be given back.
    level : float
        Quantile of the load to plan for.
    lead_time_s : float
        Measured 90th percentile of order-to-ready.
    drain_window_s : float
        A unit is given back only if the next `lead_time_s + drain_window_s` do not need it.
    stale_s : float
        A plan or a log older than this is not trusted: nothing is given back.
    horizon_s : float
        Length of the tide table.
    timezone : str
        Zone of the times in explanations.
    believed : float
        Share of the predicted capacity that is counted on, see `planning.steering`.
    """

    limits: Limits = field(default_factory=Limits)
    elasticity: float = 1.0
    level: float = PLAN_LEVEL
    lead_time_s: float = 60.0
    drain_window_s: float = 600.0
    stale_s: float = 3600.0
    horizon_s: float = 86400.0
    timezone: str = "UTC"
    believed: float = 1.0

    @property
    def window_s(self) -> float:
        """How far ahead a scale-in looks, seconds."""
        return self.lead_time_s + self.drain_window_s
