"""What happened: alerts, changes by hand, orders and decisions, each newest first in pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from forecaster.store.pool import Pool
from forecaster.store.queries import queries
from forecaster.store.switches import NEWEST

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
    """

    deed: Deed
    number: int
    at_s: float
    service: str
    what: str
    why: str
    resolved_s: float | None


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
