"""What the planner may do for one service, in one value."""

from __future__ import annotations

from dataclasses import dataclass, field

from forecaster.domain.demand import SLOT_S
from forecaster.domain.pools import ONE_POOL, Pool, Split
from forecaster.domain.service import Limits, Pin, Window

CHURN_S = 900.0
"""Unit-seconds that an order is thought to cost beside the warm-up: each one is a risk.

Measured in the replay: at 300 there are a third to a half more orders, at 2,000 a third fewer and up to
2 % more unit-hours.
"""
SLOW = 3.0
"""A unit that warms longer than this many leads is not counted on."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules of one service, as they stand now.

    Attributes
    ----------
    elasticity : float
        0..1: share of the gap to the peak that may be given back.
    price_s : float
        Unit-seconds that one request outside the SLO is worth, see `planning.price`.
    load_factor : float
        Times the forecast load that is planned for, see `planning.budget`.
    lead_time_s : float
        Measured 90th percentile of order-to-ready.
    tick_s : float
        From this decision to the next: what is needed before an order of then is ready, is ordered now.
    drain_window_s : float
        A unit is given back only if the next `due_s + drain_window_s` do not need it.
    churn_s : float
        Unit-seconds that one order is thought to cost beside the warm-up.
    min_billing_s : float
        A unit is paid at least this long.
    stale_s : float
        A plan or a log older than this is not trusted: nothing is given back.
    silent_s : float
        A plan made when the log had been silent for longer gives nothing back.
    horizon_s : float
        Length of the tide table.
    timezone : str
        Zone of the windows, and of the times in explanations.
    windows : tuple of Window
        Floors and ceilings by hours of the week.
    pin : Pin or None
        A number of units set by hand.
    denied : bool
        Capacity was refused lately: nothing is given back that may not be had again.
    quota : str
        Name of the GPU quota that it shares; empty: none.
    room_units : int or None
        Units for which the quota has GPUs now; None: as many as one likes.
    split : Split
        How its units fall into pools while no plan says.
    denied_pools : tuple of Pool
        Types of units that were refused lately: others are ordered in their place.
    """

    limits: Limits = field(default_factory=Limits)
    elasticity: float = 1.0
    price_s: float = 3600.0
    load_factor: float = 1.0
    lead_time_s: float = 60.0
    tick_s: float = 60.0
    drain_window_s: float = 300.0
    churn_s: float = CHURN_S
    min_billing_s: float = 0.0
    stale_s: float = 3600.0
    silent_s: float = 3600.0
    horizon_s: float = 86400.0
    timezone: str = "UTC"
    windows: tuple[Window, ...] = ()
    pin: Pin | None = None
    denied: bool = False
    quota: str = ""
    room_units: int | None = None
    split: Split = ONE_POOL
    denied_pools: tuple[Pool, ...] = ()

    @property
    def due_s(self) -> float:
        """How far ahead an order looks, seconds: at least one slot beyond the lead."""
        return self.lead_time_s + max(self.tick_s, SLOT_S)

    @property
    def window_s(self) -> float:
        """How far ahead a scale-in looks, seconds."""
        return self.due_s + self.drain_window_s

    @property
    def slow_s(self) -> float:
        """A unit that warms longer than this is no supply, seconds."""
        return SLOW * self.lead_time_s
