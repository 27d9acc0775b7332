"""Alerts: what somebody should know, once when it begins and once when it is over."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What an alert is about."""

    SLO_BURN = "slo_burn"
    """The error budget is spent much faster than it may be."""
    CAPACITY_DENIED = "capacity_denied"
    """The tier had no room for units that were ordered."""
    DRIFT = "drift"
    """Units carry much less than what they were measured to, or the plan runs behind the SLO."""
    STALE_DATA = "stale_data"
    """The log is silent, or no new plan can be made: nothing is given back."""
    GATE = "gate"
    """A gate is closed: a training lost to seasonal naive, or units fail one after the other."""


@dataclass(frozen=True, slots=True)
class Symptom:
    """Something that is wrong now.

    Attributes
    ----------
    urgent : bool
        Said in quiet hours as well.
    """

    kind: Kind
    service: str
    text: str
    urgent: bool = False

    @property
    def key(self) -> str:
        """Two symptoms of one key are one alert."""
        return f"{self.kind.value}:{self.service}"


@dataclass(frozen=True, slots=True)
class Alert:
    """A symptom over time.

    Attributes
    ----------
    opened_s, seen_s : float
        First and last time at which it was seen, epoch seconds.
    resolved_s : float or None
        When it was over; None while it lasts.
    """

    alert_id: int
    kind: Kind
    service: str
    text: str
    urgent: bool
    opened_s: float
    seen_s: float
    resolved_s: float | None


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to one webhook.

    Attributes
    ----------
    event : str
        firing or resolved.
    hook : str
        Which webhook, by a digest of its address.
    tries : int
        How often it was tried before.
    """

    notice_id: int
    event: str
    hook: str
    tries: int
    alert: Alert
