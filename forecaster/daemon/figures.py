"""Figures of many services within a bound of time: the oldest are worked out anew, the others kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from forecaster.domain.errors import StoreError

BUDGET_S = 0.2
"""Of one reading: a few dozen services are always fresh, thousands within seconds."""


class Figures:
    """Remembers what was worked out of each service.

    Parameters
    ----------
    work : callable
        Figures of one service.
    budget_s : float
        Seconds of one reading; at least one service is worked out, and each that never was.

    Attributes
    ----------
    said : str
        Why the last reading had to do with what was known before; empty where it did not.
    """

    def __init__(self, work: Callable[[str], dict[str, Any]], budget_s: float = BUDGET_S) -> None:
        self._work, self._budget_s = work, budget_s
        self._known: dict[str, dict[str, Any]] = {}
        self._turn = threading.Lock()
        self.said = ""

    def of(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Figures of all of them; while the database is away the last ones.

        Raises
        ------
        StoreError
            When it is away and of some nothing is known yet.
        """
        with self._turn:
            try:
                self._renew(names)
                self.said = ""
            except StoreError as error:
                if any(name not in self._known for name in names):
                    raise
                self.said = str(error)
            return {name: self._known[name] for name in names}

    def _renew(self, names: Sequence[str]) -> None:
        """Work out what is missing, then the oldest as far as there is time."""
        end_s = time.monotonic() + self._budget_s
        wanted = set(names)
        oldest = [name for name in self._known if name in wanted]  # in order of their age
        missing = [name for name in names if name not in self._known]
        for number, name in enumerate((*missing, *oldest)):
            if number > len(missing) and time.monotonic() >= end_s:
                break
            found = self._work(name)
            self._known.pop(name, None)
            self._known[name] = found
