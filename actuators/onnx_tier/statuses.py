"""HTTP statuses that the control API and its client agree on: one per error of the contract."""

from __future__ import annotations

REFUSED = 400
"""The order makes no sense here."""
CAPACITY_DENIED = 409
"""There is no room; nothing was ordered."""
UNIT_GONE = 410
"""The unit no longer exists."""
CLIENT_CLOSED = 499
"""Logged, never answered: the client went away first."""
