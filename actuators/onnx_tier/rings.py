"""Numbered, bounded memory: the newest entries, and a count of those that were dropped."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")


class NumberedRing(Generic[T]):
    """Entries numbered from 1 without gaps; the oldest give way.

    Parameters
    ----------
    capacity : int
        Entries kept.

    Examples
    --------
    >>> ring = NumberedRing[str](2)
    >>> for word in "abc":
    ...     _ = ring.append(lambda seq, word=word: f"{seq}{word}")
    >>> ring.after(0, 10), ring.dropped
    (['2b', '3c'], 1)
    """

    def __init__(self, capacity: int) -> None:
        self._entries: deque[T] = deque(maxlen=capacity)
        self._next = 1

    @property
    def dropped(self) -> int:
        """Entries that were pushed out."""
        return self._next - 1 - len(self._entries)

    @property
    def last(self) -> int:
        """Number of the newest entry; 0 when there was none."""
        return self._next - 1

    def append(self, make: Callable[[int], T]) -> T:
        """Add what `make` returns for the next number."""
        entry = make(self._next)
        self._entries.append(entry)
        self._next += 1
        return entry

    def after(self, seq: int, limit: int) -> list[T]:
        """At most `limit` entries numbered above `seq`, in order."""
        skip = max(0, seq - self.dropped)
        return list(islice(self._entries, skip, skip + max(0, limit)))
