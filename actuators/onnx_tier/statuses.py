"""HTTP statuses: those that the control API and its client agree on, one per error of the contract."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus

REFUSED = 400
"""The order makes no sense here."""
CAPACITY_DENIED = 409
"""There is no room; nothing was ordered."""
UNIT_GONE = 410
"""The unit no longer exists."""
FENCED = 412
"""Another leader was here."""
CLIENT_CLOSED = 499
"""Logged, never answered: the client went away first."""


@cache
def status_line(status: int) -> bytes:
    """Return the first line of an HTTP answer.

    Examples
    --------
    >>> status_line(404)
    b'HTTP/1.1 404 Not Found\\r\\n'
    """
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
