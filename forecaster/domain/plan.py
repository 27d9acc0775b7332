"""The tide table: for each coming slot how many units are needed and held, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from forecaster.domain.pools import ONE_POOL, Pool, Split


class Reason(StrEnum):
    """Why a slot holds the number of units it holds."""

    LOAD = "load"
    """The forecast load needs them to keep the SLO."""
    MIN_UNITS = "min_units"
    """The floor of the service."""
    MAX_UNITS = "max_units"
    """The ceiling of the service: the load would need more."""
    STEP = "step"
    """Rounded up to the purchase step."""
    ELASTICITY = "elasticity"
    """Held for the peak: the elasticity coefficient gives back only part of the gap."""
    COMING_LOAD = "coming_load"
    """Kept through a lull: giving back and starting again costs more than keeping."""
    BRIEF = "brief"
    """Fewer than the load would like: the time in which they help is too short to pay a start."""
    QUOTA = "quota"
    """The GPUs that several services share are with others, who go first."""
    BATCH_WORK = "batch_work"
    """Batch work is due: the units that the load needs would not do it by its deadline."""
    LEAD = "lead"
    """What is ordered now is not ready yet."""
    WINDOW = "window"
    """A schedule window of the service sets a floor or a ceiling."""
    PIN = "pin"
    """Pinned by hand."""
    NO_FORECAST = "no_forecast"
    """No forecast can be trusted: the present fleet is held."""


class Binding(StrEnum):
    """The part of the SLO or of the unit that decides how many are needed."""

    NONE = "none"
    TTFT = "ttft"
    TPOT = "tpot"
    LATENCY = "latency"
    KV = "kv"
    BATCH = "batch"
    STABILITY = "stability"


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """One row of the tide table.

    Attributes
    ----------
    start_s : float
        Start of the slot, epoch seconds.
    arrival_rate_rps : float
        Mean of the forecast arrival rate, requests/s.
    high_rate_rps : float
        The rate that is exceeded one time in twenty, requests/s.
    offered_load_erl : float
        Mean load in busy units.
    need_units : int
        Units of which the last one still saves more violations than it costs.
    hold_units : int
        Units to have ready.
    outside_share : float
        Share of the requests that is expected outside the SLO with `hold_units`.
    reason : Reason
        What decided `hold_units`.
    binding : Binding
        What decided `need_units`.
    wanted_units : int
        Units that it would hold if it shared its GPUs with nobody; 0 where it does.
    refused_rps : float
        Requests/s that are expected outside the SLO for want of the difference.
    """

    start_s: float
    arrival_rate_rps: float
    high_rate_rps: float
    offered_load_erl: float
    need_units: int
    hold_units: int
    outside_share: float
    reason: Reason
    binding: Binding
    wanted_units: int = 0
    refused_rps: float = 0.0

    @property
    def refused_units(self) -> int:
        """Units that others have of what it would hold."""
        return max(self.wanted_units - self.hold_units, 0)


@dataclass(frozen=True, slots=True)
class TideTable:
    """The plan of one service over the horizon.

    Attributes
    ----------
    made_s : float
        When it was made, epoch seconds.
    slot_s : float
        Slot length, seconds.
    lead_time_s : float
        The lead that it was made for.
    data_until_s : float
        End of the last slot whose demand was measured, epoch seconds.
    peak_units : int
        Most units that the coming week needs.
    price_s : float
        Unit-seconds that one request outside the SLO was taken to be worth.
    split : Split
        How its units fall into pools.
    """

    service: str
    made_s: float
    slot_s: float
    lead_time_s: float
    data_until_s: float
    peak_units: int
    price_s: float
    slots: tuple[SlotPlan, ...]
    split: Split = ONE_POOL

    def at(self, time_s: float) -> SlotPlan:
        """Return the slot that contains `time_s` (the nearest one outside the horizon)."""
        index = int((time_s - self.slots[0].start_s) // self.slot_s)
        return self.slots[min(max(index, 0), len(self.slots) - 1)]


class Verb(StrEnum):
    """What a decision orders."""

    HOLD = "hold"
    PREWARM = "prewarm"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class Decision:
    """What one tick decided for one service, with the numbers that decided.

    Attributes
    ----------
    units : int
        How many units to pre-warm or drain; 0 for hold.
    target_units : int
        Ready plus warming units after the order.
    needed_s : float
        The moment for which the order is placed (now + lead for pre-warming), epoch seconds.
    explanation : str
        One sentence for people.
    pools : tuple of (Pool, int)
        Of two pools: how many of `units` are ordered in each.
    """

    service: str
    at_s: float
    verb: Verb
    units: int
    target_units: int
    needed_s: float
    reason: Reason
    explanation: str
    pools: tuple[tuple[Pool, int], ...] = ()

    @property
    def orders(self) -> tuple[tuple[Pool, int], ...]:
        """Units to pre-warm or drain in each pool."""
        return self.pools or ((Pool.WHOLE, self.units),)
