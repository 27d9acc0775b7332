"""Pins: numbers of units set by hand, each with its end and its reason."""

from __future__ import annotations

from forecaster.domain.service import Pin
from forecaster.store.pool import Connection
from forecaster.store.queries import queries

_SQL = queries("pin")


def add_pin(connection: Connection, number: int, pin: Pin) -> None:
    """Set a pin; the one before it no longer counts."""
    _add(connection, number, pin.from_s, pin.until_s, pin.units, pin.why)


def take_pin(connection: Connection, number: int, now_s: float) -> None:
    """Take the pin away."""
    _add(connection, number, now_s, now_s, None, "")


def newest_pin(connection: Connection, service: str) -> Pin | None:
    """The pin that was set last, in force or over; None when there is none or it was taken away."""
    row = connection.execute(_SQL["newest"], {"service": service}).fetchone()
    if row is None or row[0] is None:
        return None
    return Pin(units=int(row[0]), from_s=float(row[1]), until_s=float(row[2]), why=str(row[3]))


def _add(
    connection: Connection,
    number: int,
    made_s: float,
    until_s: float,
    units: int | None,
    why: str,
) -> None:
    row = {"service_id": number, "made_s": made_s, "until_s": until_s, "units": units, "why": why}
    connection.execute(_SQL["add"], row)
