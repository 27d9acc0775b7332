"""What an operator switched, newest first: the state in force and the audit log in one table."""

from __future__ import annotations

from dataclasses import dataclass

from forecaster.store.pool import Connection
from forecaster.store.queries import queries

_SQL = queries("switch")
NEWEST = (1 << 63) - 1
MODE, FREEZE, PIN, ORDER = "mode", "freeze", "pin", "order"


@dataclass(frozen=True, slots=True)
class Switch:
    """One change by hand.

    Attributes
    ----------
    service : str
        Empty for the whole installation.
    name : str
        mode, freeze, pin or order.
    """

    switch_id: int
    made_s: float
    service: str
    name: str
    value: str
    why: str


def add_switch(
    connection: Connection, made_s: float, service: str, name: str, value: str, why: str
) -> None:
    """Write one change down."""
    row = {"made_s": made_s, "service": service, "name": name, "value": value, "why": why}
    connection.execute(_SQL["add"], row)


def switched(connection: Connection) -> dict[tuple[str, str], str]:
    """The value in force of each (service, name) that was ever switched."""
    rows = connection.execute(_SQL["state"]).fetchall()
    return {(service, name): value for service, name, value in rows}


def switches(connection: Connection, limit: int, before_id: int | None) -> list[Switch]:
    """At most `limit` changes numbered below `before_id`, newest first."""
    bounds = {"limit": limit, "before_id": NEWEST if before_id is None else before_id}
    return [Switch(*row) for row in connection.execute(_SQL["newest"], bounds).fetchall()]
