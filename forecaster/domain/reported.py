"""What others report of their own answers: a model server's histograms, a log's lines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecaster.domain.demand import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Reported:
    """Answered requests by the slot; slots of which nothing is reported are not among them.

    Attributes
    ----------
    start_s : int64[m]
        Slot starts, epoch seconds, rising.
    requests, outside : float64[m]
        Requests that ended, and how many of them outside the SLO.
    """

    start_s: IntArray
    requests: FloatArray
    outside: FloatArray

    def clipped(self, from_s: float, to_s: float) -> Reported:
        """Slots that start in ``[from_s, to_s)``."""
        own = (self.start_s >= from_s) & (self.start_s < to_s)
        return Reported(self.start_s[own], self.requests[own], self.outside[own])

    def between(self, from_s: float, to_s: float) -> tuple[float, float]:
        """Requests that ended in ``[from_s, to_s)``, and how many of them outside.

        Examples
        --------
        >>> each = Reported(np.array([0, 60, 120]), np.array([5.0, 6.0, 7.0]), np.array([1.0, 0.0, 2.0]))
        >>> each.between(60, 180)
        (13.0, 2.0)
        """
        own = self.clipped(from_s, to_s)
        return float(own.requests.sum()), float(own.outside.sum())


NONE = Reported(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
