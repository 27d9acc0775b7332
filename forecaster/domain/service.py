"""A service: one model endpoint with its SLO, its limits, its calendar and its bill."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum

from forecaster.domain.anomaly import Judgement


class Mode(StrEnum):
    """The trust ladder."""

    OBSERVE = "observe"
    """Plans and scores itself; touches nothing."""
    APPROVE = "approve"
    """Each order waits for a click, a command, or the time after which it goes by itself."""
    ACT = "act"
    """Orders are carried out."""


@dataclass(frozen=True, slots=True)
class Slo:
    """Service-level objective: each bound holds for the share `attainment` of requests.

    Attributes
    ----------
    ttft_p99_s, tpot_p99_s : float or None
        Bounds on time to first token and mean time per output token (generative).
    latency_p99_s : float or None
        Bound on the whole answer.
    attainment : float
        Share of requests that must be inside every bound, 0.5 <= attainment < 1.
    """

    ttft_p99_s: float | None = None
    tpot_p99_s: float | None = None
    latency_p99_s: float | None = None
    attainment: float = 0.99


@dataclass(frozen=True, slots=True)
class Limits:
    """How many units may be bought: `min_units` <= n <= `max_units`, in multiples of `step_units`."""

    min_units: int = 1
    max_units: int = 64
    step_units: int = 1

    def at_least(self, units: int) -> Limits:
        """The same with no lower floor than `units`."""
        return replace(self, min_units=max(self.min_units, units))

    def at_most(self, units: int) -> Limits:
        """The same with no more units than there are, in whole steps."""
        most = max(min(self.max_units, units // self.step_units * self.step_units), 1)
        return replace(self, min_units=min(self.min_units, most), max_units=most)


@dataclass(frozen=True, slots=True)
class Window:
    """Hours of the week with a floor or a ceiling of their own, in the service's time zone.

    Attributes
    ----------
    days : tuple of int
        Days on which it begins, 0 = Monday.
    start_min, end_min : int
        Minutes since midnight; an end that is not after the start is on the next day.
    min_units, max_units : int or None
        Floor and ceiling; None leaves the service's own.
    """

    days: tuple[int, ...]
    start_min: int
    end_min: int
    min_units: int | None = None
    max_units: int | None = None


@dataclass(frozen=True, slots=True)
class Pin:
    """A number of units that somebody set by hand for a while.

    Attributes
    ----------
    from_s, until_s : float
        In force in ``[from_s, until_s)``, epoch seconds.
    why : str
        For the explanation.
    """

    units: int
    from_s: float
    until_s: float
    why: str = ""


class Every(StrEnum):
    """How often an event comes again, by the service's own clock."""

    ONCE = "once"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


@dataclass(frozen=True, slots=True)
class Event:
    """Something known that makes demand unlike other days: a launch, a campaign, a sale.

    Events of one name are occurrences of the same thing: the next one is like the last ones.

    Attributes
    ----------
    start_s, end_s : float
        The first occurrence, epoch seconds.
    before_s, after_s : float
        How long demand is already, and still, unlike other days around it.
    factor : float
        Times the usual demand that is expected until one was seen; below 1: less.
    every : Every
        How often it comes again.
    until_s : float
        None begins after this, epoch seconds.
    """

    name: str
    start_s: float
    end_s: float
    before_s: float = 0.0
    after_s: float = 0.0
    factor: float = 1.5
    every: Every = Every.ONCE
    until_s: float = math.inf


@dataclass(frozen=True, slots=True)
class CalendarSpec:
    """Whose days and holidays shape the tide.

    Attributes
    ----------
    judged : tuple of Judgement
        Stretches that an operator told to learn, or not to; the newest comes last and counts.
    """

    timezone: str = "UTC"
    country: str = ""
    events: tuple[Event, ...] = ()
    judged: tuple[Judgement, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """One service as the operator configured it.

    Attributes
    ----------
    elasticity : float
        0..1: share of the gap between the coming peak and the present need that may be given back.
    log_sample : float
        Share of requests that the log keeps, 0 < share <= 1; demand is counted / share.
    windows : tuple of Window
        Floors and ceilings by hours of the week.
    approve_after_s : float
        Mode approve: an order that nobody answered goes out after this; 0 = never.
    day_shape : tuple of float
        Requests/s by local hour that are expected while nothing is known; empty: not said.
    quota : str
        Name of the GPU quota that it shares with others; empty: it has no need to share.
    priority : int
        Who is served first where the quota is short; larger goes first.
    metered : bool
        Counters tell its load, up to where they were read.
    """

    name: str
    unit: str
    slo: Slo
    elasticity: float = 1.0
    limits: Limits = field(default_factory=Limits)
    calendar: CalendarSpec = field(default_factory=CalendarSpec)
    mode: Mode = Mode.ACT
    log_sample: float = 1.0
    windows: tuple[Window, ...] = ()
    approve_after_s: float = 0.0
    day_shape: tuple[float, ...] = ()
    quota: str = ""
    priority: int = 0
    metered: bool = False


@dataclass(frozen=True, slots=True)
class Quota:
    """GPUs that several services share: all their units together never hold more."""

    name: str
    gpus: int
