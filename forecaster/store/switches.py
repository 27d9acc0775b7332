"""What an operator switched, newest first: the state in force and the audit log in one table."""

from __future__ import annotations

from dataclasses import dataclass

from forecaster.domain.word import Word
from forecaster.store.pool import Connection
from forecaster.store.queries import queries

_SQL = queries("switch")
NEWEST = (1 << 63) - 1
MODE, FREEZE, PIN, ORDER, MODEL, DEMAND = "mode", "freeze", "pin", "order", "model", "demand"


@dataclass(frozen=True, slots=True)
class Switch:
    """One change by hand.

    Attributes
    ----------
    service : str
        Empty for the whole installation.
    name : str
        mode, freeze, pin, order, model or demand.
    by : str
        Who made it; empty before this was written down.
    """

    switch_id: int
    made_s: float
    service: str
    name: str
    value: str
    why: str
    by: str


def add_switch(
    connection: Connection, made_s: float, service: str, name: str, value: str, word: Word
) -> None:
    """Write one change down."""
    row = {"made_s": made_s, "service": service, "name": name, "value": value}
    connection.execute(_SQL["add"], row | {"why": word.why, "by": word.by})


def switched(connection: Connection) -> dict[tuple[str, str], str]:
    """The value in force of each (service, name) that was ever switched."""
    rows = connection.execute(_SQL["state"]).fetchall()
    return {(service, name): value for service, name, value in rows}


def switches(connection: Connection, limit: int, before_id: int | None) -> list[Switch]:
    """At most `limit` changes numbered below `before_id`, newest first."""
    bounds = {"limit": limit, "before_id": NEWEST if before_id is None else before_id}
    return [Switch(*row) for row in connection.execute(_SQL["newest"], bounds).fetchall()]
