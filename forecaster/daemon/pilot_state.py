"""What a pilot is at: the plan in force, and the one that it drafts."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from forecaster.daemon.planner import Made
from forecaster.domain.forecast import QuantileForecast
from forecaster.domain.plan import Decision, TideTable
from forecaster.domain.units import Fleet


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
