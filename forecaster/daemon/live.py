"""Live service figures: what share of the answered requests was inside the SLO, and how slow."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from forecaster.domain.answers import SERVER_ERROR, TOO_MANY
from forecaster.domain.service import Slo
from forecaster.domain.units import RequestRecord

WINDOW = 5000
"""Requests over which percentiles are shown."""


@dataclass(frozen=True, slots=True)
class ServedFigures:
    """Figures since the start (counts) and over the last `WINDOW` requests (percentiles).

    Attributes
    ----------
    attainment : float
        Share of all requests inside every part of the SLO; refused ones are outside. NaN at first.
    """

    requests: int
    inside: int
    refused: int
    attainment: float
    ttft_p50_s: float
    ttft_p99_s: float
    tpot_p99_s: float
    latency_p99_s: float


class Outcome(Enum):
    """What became of a request, as the SLO counts it."""

    INSIDE = auto()
    OUTSIDE = auto()
    REFUSED = auto()
    NOT_OURS = auto()
    """A client's mistake, or one that left: says nothing of the service."""


class LiveFigures:
    """Counts requests of one service; fed by the daemon, read by the API."""

    def __init__(self, slo: Slo) -> None:
        self.slo = slo
        self.requests = self.inside = self.refused = 0
        self.recent: deque[tuple[float, float, float]] = deque(maxlen=WINDOW)
        self._turn = threading.Lock()

    def add(self, records: Sequence[RequestRecord]) -> None:
        """Count records."""
        with self._turn:
            for record in records:
                outcome = outcome_of(record, self.slo)
                if outcome is Outcome.NOT_OURS:
                    continue
                self.requests += 1
                self.refused += outcome is Outcome.REFUSED
                self.inside += outcome is Outcome.INSIDE
                if outcome is not Outcome.REFUSED:
                    self.recent.append((record.ttft_s, record.tpot_s, record.latency_s))

    def figures(self) -> ServedFigures:
        """Return the figures now."""
        with self._turn:
            rows = np.asarray(self.recent, dtype=np.float64).reshape(-1, 3)
            counts = (self.requests, self.inside, self.refused)
        share = counts[1] / counts[0] if counts[0] else math.nan
        return ServedFigures(
            *counts,
            share,
            _quantile(rows[:, 0], 0.5),
            _quantile(rows[:, 0], 0.99),
            _quantile(rows[:, 1], 0.99),
            _quantile(rows[:, 2], 0.99),
        )


def outcome_of(record: RequestRecord, slo: Slo) -> Outcome:
    """Classify an answered or refused request."""
    return outcome(record.status, (record.ttft_s, record.tpot_s, record.latency_s), slo)


def outcome(status: int, times_s: tuple[float, float, float], slo: Slo) -> Outcome:
    """Classify by status and TTFT, TPOT and latency; NaN parts do not apply."""
    if 400 <= status < SERVER_ERROR and status != TOO_MANY:
        return Outcome.NOT_OURS
    if status >= TOO_MANY:
        return Outcome.REFUSED
    bounds = (slo.ttft_p99_s, slo.tpot_p99_s, slo.latency_p99_s)
    inside = all(
        bound is None or not value > bound for value, bound in zip(times_s, bounds, strict=True)
    )
    return Outcome.INSIDE if inside else Outcome.OUTSIDE


def _quantile(values: np.ndarray[tuple[int], np.dtype[np.float64]], level: float) -> float:
    seen = values[np.isfinite(values)]
    return float(np.quantile(seen, level)) if seen.size else math.nan
