"""The books: what was kept of the SLO and what rival policies would have held, by the quarter of an hour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BOOK_S = 900.0
"""Length of an entry, seconds: every time zone's days begin on one."""

FLEET = "fleet"
"""What the fleet really did, judged by the same sizing table as its rivals."""
SHADOW = "tidegate"
"""What Tidegate decided, whether or not it was allowed to order."""


@dataclass(frozen=True, slots=True)
class Held:
    """What one policy held during an entry.

    Attributes
    ----------
    ready_s, warming_s : float
        Unit-seconds; draining is not foreseen and not counted.
    outside : float
        Requests that the sizing table expects outside the SLO.
    """

    ready_s: float
    warming_s: float
    outside: float

    @property
    def unit_s(self) -> float:
        """Unit-seconds ready and warming."""
        return self.ready_s + self.warming_s


@dataclass(frozen=True, slots=True)
class BookEntry:
    """A quarter of an hour of one service.

    Attributes
    ----------
    start_s : float
        A multiple of `BOOK_S`, epoch seconds.
    requests, outside, refused : int
        Requests that our tier answered or refused, or that a model server reports; those outside the SLO (refused
        ones are), those refused.
    arrivals : float
        Demand: what the policies were judged on, requests.
    held : mapping of str to Held
        By policy, `FLEET` and `SHADOW` among them; empty where there was nothing to compare with.
    """

    start_s: float
    requests: int = 0
    outside: int = 0
    refused: int = 0
    arrivals: float = 0.0
    held: Mapping[str, Held] = field(default_factory=dict)
