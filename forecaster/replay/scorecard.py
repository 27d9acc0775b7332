"""The judge's ruling: every request of the scored window through a fleet that follows a schedule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from forecaster.capacity.kernel import Finished, fleet_of
from forecaster.domain.demand import FloatArray, RequestBatch
from forecaster.domain.pools import ONE_POOL, Split
from forecaster.domain.profile import UnitType
from forecaster.domain.service import Slo
from forecaster.replay.timeline import Timeline

_BINS = 4096
_LOW_S, _HIGH_S = 1e-4, 1e5
_LEVELS = (0.5, 0.9, 0.99)
MINUTE_S = 60.0
_PIECE = 1 << 16


class Times:
    """Quantiles of a stream of durations in bounded memory: log bins 0.5 % wide."""

    def __init__(self) -> None:
        self._count = np.zeros(_BINS, np.int64)
        self._scale = (_BINS - 1) / np.log(_HIGH_S / _LOW_S)

    def add(self, seconds: FloatArray) -> None:
        """Count durations; NaN is left out."""
        seen = seconds[np.isfinite(seconds)]
        place = np.log(np.clip(seen, _LOW_S, _HIGH_S) / _LOW_S) * self._scale
        self._count += np.bincount(place.astype(np.int64), minlength=_BINS)

    def quantiles(self) -> dict[str, float]:
        """p50, p90 and p99, seconds; NaN without any."""
        total = int(self._count.sum())
        if not total:
            return {f"p{round(100 * q)}": float("nan") for q in _LEVELS}
        reached = np.cumsum(self._count)
        at = np.searchsorted(reached, np.ceil(np.asarray(_LEVELS) * total))
        values = _LOW_S * np.exp((at + 0.5) / self._scale)
        return {f"p{round(100 * q)}": float(v) for q, v in zip(_LEVELS, values, strict=True)}


@dataclass(frozen=True, slots=True)
class Score:
    """What a schedule did.

    Attributes
    ----------
    requests, inside : int
        All requests that arrived in the scored window, and those inside every part of the SLO.
    violation_minutes : int
        Minutes in which more than the allowed share was outside.
    minute_requests, minute_inside : float64[M]
        The same by minute of arrival.
    ttft_s, tpot_s, latency_s : dict
        p50, p90 and p99, seconds.
    draining_s : float
        Unit-seconds of units that only finish what they hold.
    """

    requests: int
    inside: int
    violation_minutes: int
    minute_requests: FloatArray
    minute_inside: FloatArray
    ttft_s: dict[str, float]
    tpot_s: dict[str, float]
    latency_s: dict[str, float]
    draining_s: float

    @property
    def attainment(self) -> float:
        """Share of the requests inside the SLO; 1 for a window without requests."""
        return self.inside / self.requests if self.requests else 1.0


def rows_of(batch: RequestBatch, rows: slice) -> RequestBatch:
    """Some rows of a batch."""
    return RequestBatch(
        batch.service, batch.arrival_s[rows], batch.prompt_tokens[rows], batch.output_tokens[rows]
    )


def inside_slo(done: Finished, slo: Slo) -> np.ndarray:
    """Whether each request was answered inside every part of the SLO, bool[n]."""
    inside = done.status == 0
    if slo.ttft_p99_s is not None:
        inside &= done.ttft_s <= slo.ttft_p99_s
    if slo.tpot_p99_s is not None:
        inside &= ~(done.tpot_s > slo.tpot_p99_s)  # one token has no gap
    if slo.latency_p99_s is not None:
        inside &= done.latency_s <= slo.latency_p99_s
    return np.asarray(inside)


class Scorer:
    """Counts finished requests against the SLO, piece by piece."""

    def __init__(self, slo: Slo, start_s: float, minutes: int) -> None:
        self.slo, self.start_s = slo, start_s
        self.requests, self.inside = np.zeros(minutes), np.zeros(minutes)
        self.ttft, self.tpot, self.latency = Times(), Times(), Times()

    def add(self, done: Finished) -> None:
        """Count what has finished."""
        if not len(done):
            return
        minute = ((done.arrival_s - self.start_s) / MINUTE_S).astype(np.int64)
        minute = np.clip(minute, 0, self.requests.size - 1)
        inside = inside_slo(done, self.slo)
        self.requests += np.bincount(minute, minlength=self.requests.size)
        self.inside += np.bincount(minute, inside, minlength=self.requests.size)
        for times, values in (
            (self.ttft, done.ttft_s),
            (self.tpot, done.tpot_s),
            (self.latency, done.latency_s),
        ):
            times.add(values)

    @property
    def outside(self) -> float:
        """Requests outside the SLO so far."""
        return float(self.requests.sum() - self.inside.sum())

    def score(self, draining_s: float, lost: int = 0) -> Score:
        """The ruling so far; `lost` requests that still wait are outside."""
        outside = self.requests - self.inside
        allowed = (1 - self.slo.attainment) * self.requests
        return Score(
            requests=int(self.requests.sum()) + lost,
            inside=int(self.inside.sum()),
            violation_minutes=int((outside > allowed).sum()),
            minute_requests=self.requests,
            minute_inside=self.inside,
            ttft_s=self.ttft.quantiles(),
            tpot_s=self.tpot.quantiles(),
            latency_s=self.latency.quantiles(),
            draining_s=draining_s,
        )


def judge(
    chunks: Iterable[RequestBatch],
    unit: UnitType,
    slo: Slo,
    fleet: Timeline,
    seed: int = 0,
    hopeless: float = np.inf,
    split: Split = ONE_POOL,
) -> Score:
    """Run a trace through the kernel under a schedule.

    Parameters
    ----------
    chunks : iterable of RequestBatch
        The scored window in order of arrival.
    unit, slo
        The unit type and what counts.
    fleet : Timeline
        Ready units from tick to tick; at least one, or requests wait for the next one.
    hopeless : float
        Give up once this many requests are outside or wait: a fleet that falls behind is no
        candidate, and a queue of millions is slow. The requests that wait count as outside.
    split : Split
        How the fleet falls into pools.
    """
    simulation = fleet_of(unit, split, int(fleet.ready[0]), fleet.events, seed)
    scorer = Scorer(slo, fleet.start_s, max(int(fleet.ready.size * fleet.tick_s / MINUTE_S), 1))
    for chunk in chunks:
        for begin in range(0, len(chunk), _PIECE):
            scorer.add(simulation.run(rows_of(chunk, slice(begin, begin + _PIECE))))
            if scorer.outside + simulation.unfinished > hopeless:
                return scorer.score(0.0, lost=simulation.unfinished)
    nothing = np.zeros(0, np.int64)
    scorer.add(simulation.run(RequestBatch("", np.zeros(0), nothing, nothing), last=True))
    spans = simulation.spans()
    drained = np.isfinite(spans.gone_s)
    return scorer.score(float((spans.gone_s[drained] - spans.drain_s[drained]).sum()))
