"""What happened: alerts, changes by hand, orders and decisions, each newest first in pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from forecaster.domain.units import UnitEvent
from forecaster.store.pool import Pool
from forecaster.store.queries import queries
from forecaster.store.switches import NEWEST
from forecaster.store.tiers import as_events

_SQL = queries("activity")


class Deed(StrEnum):
    """What may happen."""

    ALERT = "alert"
    """Something that somebody should know."""
    CHANGE = "change"
    """Switched by hand: mode, freeze, pin, the answer to an order."""
    ORDER = "order"
    """Units that were pre-warmed or drained."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of what happened.

    Attributes
    ----------
    number : int
        Among those of its kind; it rises in the order in which they were written down.
    service : str
        Empty for the whole installation.
    resolved_s : float or None
        When an alert was over, epoch seconds; None while it lasts, and for everything else.
    by : str
        Who made the change or the order; empty for an alert.
    """

    deed: Deed
    number: int
    at_s: float
    service: str
    what: str
    why: str
    resolved_s: float | None
    by: str = ""


@dataclass(frozen=True, slots=True)
class PlanInForce:
    """The newest plan of a service as the journal has it: what whoever leads next goes on from."""

    plan_id: int
    inputs: Mapping[str, Any]
    output: Mapping[str, Any]


class Activity:
    """Reads; what is read is written elsewhere and never changed."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def page(self, deed: Deed, service: str, limit: int, before_id: int | None) -> list[Happening]:
        """At most `limit` of one kind numbered below `before_id`; an empty `service` is all of them."""
        bounds = {"service": service, "limit": limit, "before_id": before_id or NEWEST}
        with self._pool.transaction() as connection:
            rows = connection.execute(_SQL[deed.value], bounds).fetchall()
        return [Happening(deed, *row) for row in rows]

    def decided(
        self, service: str, limit: int, before_id: int | None
    ) -> list[tuple[int, Mapping[str, Any], bool]]:
        """Number, output and whether it was ordered, of ticks that changed something."""
        bounds = {"service": service, "limit": limit, "before_id": before_id or NEWEST}
        with self._pool.transaction() as connection:
            return connection.execute(_SQL["decided"], bounds).fetchall()

    def plans_in_force(self) -> dict[str, PlanInForce]:
        """The newest plan of every service that has one."""
        with self._pool.transaction() as connection:
            rows = connection.execute(_SQL["plans_in_force"]).fetchall()
        return {service: PlanInForce(*row) for service, *row in rows}

    def starting(self) -> list[UnitEvent]:
        """Events of all units that were ordered and are not ready yet, in order."""
        with self._pool.transaction() as connection:
            rows = connection.execute(_SQL["starting"]).fetchall()
        return [event for service, *row in rows for event in as_events(service, [tuple(row)])]

    def leads_s(self, most: int) -> dict[str, list[float]]:
        """How long the last `most` units of every service took from order to ready, the newest last."""
        with self._pool.transaction() as connection:
            rows = connection.execute(_SQL["leads"], {"most": most}).fetchall()
        return {service: [float(each) for each in leads_s] for service, leads_s in rows}
