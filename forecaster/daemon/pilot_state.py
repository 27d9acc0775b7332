"""What a pilot is at: the plan in force, and the one that it drafts."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from forecaster.daemon.planner import Made
from forecaster.domain.forecast import QuantileForecast
from forecaster.domain.plan import Decision, TideTable
from forecaster.domain.units import Fleet

LATE_PLANS = 2.0
"""A plan that is older than so many times what lies between two plans is late."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan that was made alone.

    Attributes
    ----------
    at_s : float
        When, epoch seconds.
    nowcast_erl : float or None
        Load of the minute that broke the band.
    """

    made: Made
    at_s: float
    nowcast_erl: float | None


@dataclass(slots=True)
class PilotState:
    """What the API and the dashboard read; replaced, never edited."""

    table: TideTable | None = None
    table_id: int = 0
    forecast: QuantileForecast | None = None
    fleet: Fleet | None = None
    decision: Decision | None = None
    lead_time_s: float = 0.0
    note: str = ""
    recent: deque[Decision] = field(default_factory=lambda: deque(maxlen=200))

    def repeats(self, decision: Decision) -> bool:
        """Whether a decision says what the last one did."""
        last = self.decision
        return last is not None and (last.verb, last.target_units, last.reason) == (
            decision.verb,
            decision.target_units,
            decision.reason,
        )

    def late(self, now_s: float, replan_s: float) -> bool:
        """Whether the plan in force should have been made anew long ago."""
        return self.table is not None and now_s - self.table.made_s > LATE_PLANS * replan_s
