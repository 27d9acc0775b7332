"""Requests outside the SLO as the model server itself reports them: from the histograms of its latencies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from forecaster.demand.counted import shared_out, slots_of
from forecaster.domain.reported import NONE, Reported
from forecaster.domain.service import Slo
from forecaster.ingest.buckets import Process, around, judged, processes
from forecaster.ingest.meter import SETTLE_S, Span
from forecaster.ingest.presets import Counters, Expressions, Source, series
from forecaster.ingest.prometheus import Matrix

BACK_S = 86_400
"""At first, and after a long absence, so much is read."""
AGAIN_S = 180
"""So much is read again: samples may come late."""
WINDOW_S = 3 * 3600
"""Read at once: every bucket of every process."""


class Reporter(Protocol):
    """What is asked for one service."""

    def missing(self, slo: Slo) -> tuple[str, ...]:
        """Parts of an SLO that the server does not report: what it reports of the others is left out, too."""
        ...

    def reported(self, source: Source, slo: Slo, from_s: int, to_s: int, step_s: int) -> Reported:
        """Steps that start in ``[from_s, to_s)``."""
        ...


class ReportSink(Protocol):
    """Keeps what was reported."""

    def reported_until_s(self, service: str) -> float | None:
        """End of the newest slot that was reported; None before the first."""
        ...

    def report(self, service: str, span: Span, reported: Reported) -> None:
        """Store slots in the place of those of the span."""
        ...


class Histograms:
    """The histograms of a preset: one for each part of the SLO.

    A request that breaks two parts is counted twice, as in the sizing table; within a bucket requests are
    taken to lie evenly, as `histogram_quantile` does; one that is too wide for that tells nothing.
    Every part of the SLO must be reported: one that is left out would look as if it were kept.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._known: dict[tuple[str, float], tuple[str, set[Process]]] = {}

    def missing(self, slo: Slo) -> tuple[str, ...]:
        """Parts of an SLO that no histogram tells."""
        asked = parts_of(slo, self._counters.preset.times)
        return tuple(part for part, name, _ in asked if not name)

    def reported(self, source: Source, slo: Slo, from_s: int, to_s: int, step_s: int) -> Reported:
        """Steps that start in ``[from_s, to_s)``; none where a part of the SLO is missing."""
        if self.missing(slo):
            return NONE
        steps = (to_s - from_s) // step_s
        ended, share = np.zeros(steps), np.zeros(steps)
        for _, name, bound_s in parts_of(slo, self._counters.preset.times):
            found = self._buckets(source, name, bound_s, (from_s, to_s, step_s))
            count, inside = judged(found, bound_s)
            with np.errstate(divide="ignore", invalid="ignore"):
                share = share + np.where(count > 0, 1 - inside / count, 0.0 * count)
            ended = np.maximum(ended, count)
        known = np.isfinite(ended)
        starts = np.arange(from_s, to_s, step_s, dtype=np.int64)[known]
        return Reported(starts, ended[known], ended[known] * np.clip(share[known], 0, 1))

    def bounds(self, slo: Slo) -> dict[str, float]:
        """Bound of each series of buckets that is read."""
        asked = parts_of(slo, self._counters.preset.times)
        return {f"{name}_bucket": bound for _, name, bound in asked if name}

    def selectors(self, slo: Slo) -> tuple[str, ...]:
        """Every series that is read, all its buckets; none where a part of the SLO is missing."""
        names = () if self.missing(slo) else self.bounds(slo)
        return tuple(series(name, self._counters.match) for name in names)

    def _buckets(
        self, source: Source, name: str, bound_s: float, grid: tuple[int, int, int]
    ) -> Matrix:
        """The buckets around the bound; all of them where a process comes whose buckets are not known yet."""
        key, match = (name, bound_s), self._counters.match
        if key in self._known:
            edges, known = self._known[key]
            found = source.range(series(f"{name}_bucket", match, edges), *grid)
            if found.labels and processes(found) <= known:
                return found
        found = source.range(series(f"{name}_bucket", match), *grid)
        near = {le for each in around(found, bound_s).values() for le in each}
        if near:
            names = "|".join(sorted(near)).replace(".", "[.]").replace("+", "[+]")
            self._known[key] = (f'le=~"{names}"', processes(found))
        return found


@dataclass(frozen=True, slots=True)
class Outside:
    """PromQL of your own: requests outside the SLO of the step that ends at each moment.

    Attributes
    ----------
    expression : str
        As in ``sum(increase(gateway_slow_requests_total[$step])) or vector(0)``: without a series nothing is
        known, and no request that nobody knows of is inside.
    question : Counters or Expressions
        Tells how many ended.
    """

    expression: str
    question: Counters | Expressions

    def missing(self, slo: Slo) -> tuple[str, ...]:
        """Nothing: the bounds are the expression's own."""
        del slo
        return ()

    def reported(self, source: Source, slo: Slo, from_s: int, to_s: int, step_s: int) -> Reported:
        """Steps that start in ``[from_s, to_s)``."""
        del slo
        ended = self.question.ended(source, from_s, to_s, step_s)
        asked = Expressions(self.expression).ended(source, from_s, to_s, step_s)
        known = np.isfinite(ended) & np.isfinite(asked)
        outside = np.clip(asked[known], 0, ended[known])
        starts = np.arange(from_s, to_s, step_s, dtype=np.int64)[known]
        return Reported(starts, ended[known], outside)


class Reports:
    """What one service's model server reports, read on from where it was read to."""

    def __init__(
        self, service: str, reporter: Reporter, source: Source, sink: ReportSink, step_s: int
    ) -> None:
        self.service, self._reporter, self._source = service, reporter, source
        self._sink, self._step_s = sink, step_s

    def read(self, slo: Slo, now_s: float, stopped: Callable[[], bool] = lambda: False) -> None:
        """Read what is new.

        Raises
        ------
        SourceAwayError
            When the source is away: what was read stays.
        DataError
            When it refuses.
        """
        step_s = self._step_s
        until_s = int((now_s - SETTLE_S) // step_s * step_s)
        last_s = self._sink.reported_until_s(self.service) or -math.inf
        from_s = int(max(last_s - AGAIN_S, until_s - BACK_S) // step_s * step_s)
        for at_s in range(from_s, until_s, WINDOW_S):
            if stopped():
                break
            to_s = min(at_s + WINDOW_S, until_s)
            found = self._reporter.reported(self._source, slo, at_s, to_s, step_s)
            slots = Reported(
                slots_of(found.start_s, step_s),
                shared_out(found.requests, step_s),
                shared_out(found.outside, step_s),
            )
            self._sink.report(self.service, (at_s, to_s), slots)


def parts_of(slo: Slo, times: Mapping[str, str]) -> list[tuple[str, str, float]]:
    """Each part of an SLO with its histogram and its bound; an empty name where no histogram tells.

    Examples
    --------
    >>> parts_of(Slo(ttft_p99_s=2.0, tpot_p99_s=0.1), {"ttft": "first_token_seconds"})
    [('ttft', 'first_token_seconds', 2.0), ('tpot', '', 0.1)]
    """
    bounds = {"ttft": slo.ttft_p99_s, "tpot": slo.tpot_p99_s, "latency": slo.latency_p99_s}
    return [
        (part, times.get(part, ""), bound) for part, bound in bounds.items() if bound is not None
    ]
