"""Requests outside the SLO as the model server itself reports them: from the histograms of its latencies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from forecaster.demand.counted import grown, total
from forecaster.domain.demand import SLOT_S, FloatArray
from forecaster.domain.reported import NONE, Reported
from forecaster.domain.samples import Stream
from forecaster.domain.service import Slo
from forecaster.ingest.meter import SETTLE_S, Span
from forecaster.ingest.presets import Counters, Expressions, Source, series
from forecaster.ingest.prometheus import Matrix

BACK_S = 86_400
"""At first, and after a long absence, so much is read."""
AGAIN_S = 180
"""So much is read again: samples may come late."""
WINDOW_S = 3 * 3600
"""Read at once: every bucket of every process."""


Process = tuple[str, str]
"""Job and instance."""


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
    taken to lie evenly, as `histogram_quantile` does. Beyond the last bucket nothing is known to be inside.
    Every part of the SLO must be reported: one that is left out would look as if it were kept.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._known: dict[tuple[str, float], tuple[str, set[Process]]] = {}

    def missing(self, slo: Slo) -> tuple[str, ...]:
        """Parts of an SLO that no histogram tells."""
        asked = asked_of(slo, self._counters.preset.times)
        return tuple(part for part, name, _ in asked if not name)

    def reported(self, source: Source, slo: Slo, from_s: int, to_s: int, step_s: int) -> Reported:
        """Steps that start in ``[from_s, to_s)``; none where a part of the SLO is missing."""
        if self.missing(slo):
            return NONE
        steps = (to_s - from_s) // step_s
        ended, share = np.zeros(steps), np.zeros(steps)
        for _, name, bound_s in asked_of(slo, self._counters.preset.times):
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
        asked = asked_of(slo, self._counters.preset.times)
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
        near = {le for each in _around(found, bound_s).values() for le in each}
        names = "|".join(sorted(near)).replace(".", "[.]").replace("+", "[+]")
        self._known[key] = (f'le=~"{names}"', processes(found))
        return found


@dataclass(frozen=True, slots=True)
class Outside:
    """PromQL of your own: requests outside the SLO of the step that ends at each moment.

    Attributes
    ----------
    expression : str
        As in ``sum(increase(gateway_slow_requests_total[$step]))``.
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
        known = np.isfinite(ended)
        outside = np.clip(np.nan_to_num(asked[known]), 0, ended[known])
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
            self._sink.report(self.service, (at_s, to_s), finer(found, step_s))


def processes(found: Matrix) -> set[Process]:
    """Who tells: series of one process have the same buckets."""
    return {(each.get("job", ""), each.get("instance", "")) for each in found.labels}


def asked_of(slo: Slo, times: Mapping[str, str]) -> list[tuple[str, str, float]]:
    """Each part of an SLO with its histogram and its bound; an empty name where no histogram tells.

    Examples
    --------
    >>> asked_of(Slo(ttft_p99_s=2.0, tpot_p99_s=0.1), {"ttft": "first_token_seconds"})
    [('ttft', 'first_token_seconds', 2.0), ('tpot', '', 0.1)]
    """
    bounds = {"ttft": slo.ttft_p99_s, "tpot": slo.tpot_p99_s, "latency": slo.latency_p99_s}
    return [
        (part, times.get(part, ""), bound) for part, bound in bounds.items() if bound is not None
    ]


def thinned(streams: Iterable[Stream], bounds: Mapping[str, float]) -> list[Stream]:
    """Streams without the buckets that no bound needs.

    Parameters
    ----------
    bounds : mapping of str to float
        By the name of a bucket's series; streams of other names stay.
    """
    found = list(streams)
    les: dict[tuple[str, frozenset[tuple[str, str]]], list[str]] = {}
    for each in found:
        if each.name in bounds:
            les.setdefault(_histogram(each), []).append(each.labels.get("le", ""))
    near = {key: edges_near(names, bounds[key[0]]) for key, names in les.items()}
    return [
        each
        for each in found
        if each.name not in bounds or each.labels.get("le", "") in near[_histogram(each)]
    ]


def judged(found: Matrix, bound_s: float) -> tuple[FloatArray, FloatArray]:
    """Requests of each step, and how many of them within a bound, float64[T - 1] each.

    NaN where nothing is known.

    Examples
    --------
    Ten ended, six within half a second, two between that and one:

    >>> values = np.array([[0.0, 6.0], [0.0, 8.0], [0.0, 10.0]])
    >>> labels = tuple({"le": le} for le in ("0.5", "1.0", "+Inf"))
    >>> matrix = Matrix(labels, values, np.zeros(3, np.int64))
    >>> [[float(each[0]) for each in judged(matrix, bound_s)] for bound_s in (0.75, 1.0, 5.0)]
    [[10.0, 7.0], [10.0, 8.0], [10.0, 8.0]]
    """
    growth = grown(found.values, found.target, found.born)
    counts, insides = [], []
    les = np.array([labels.get("le", "") for labels in found.labels])
    for target, edges in _around(found, bound_s).items():
        own = found.target == target
        cumulative = {float(edge): total(growth[own & (les == edge)]) for edge in edges}
        ends = sorted(cumulative)
        count = cumulative[math.inf]
        below = [edge for edge in ends if edge <= bound_s]
        above = [edge for edge in ends if bound_s < edge < math.inf]
        low, inside = (below[-1], cumulative[below[-1]]) if below else (0.0, 0.0 * count)
        if above and low < bound_s:
            high = above[0]
            inside = inside + (bound_s - low) / (high - low) * (cumulative[high] - inside)
        counts.append(count)
        insides.append(inside)
    if not counts:
        nothing = np.full(max(found.values.shape[1] - 1, 0), np.nan)
        return nothing, nothing
    return total(np.array(counts)), total(np.array(insides))


def finer(reported: Reported, step_s: int) -> Reported:
    """Steps as slots, each an equal part."""
    parts = step_s // SLOT_S
    offsets = SLOT_S * np.arange(parts)
    return Reported(
        (reported.start_s[:, None] + offsets).reshape(-1),
        np.repeat(reported.requests / parts, parts),
        np.repeat(reported.outside / parts, parts),
    )


def _histogram(bucket: Stream) -> tuple[str, frozenset[tuple[str, str]]]:
    """What the buckets of one histogram have in common."""
    return bucket.name, frozenset(pair for pair in bucket.labels.items() if pair[0] != "le")


def edges_near(les: Iterable[str], bound_s: float) -> set[str]:
    """Of the buckets of one histogram those that end next to a bound, and the last one.

    Examples
    --------
    >>> sorted(edges_near(["0.5", "1.0", "2.5", "+Inf"], 1.2)), sorted(edges_near(["9", "+Inf"], 9.0))
    (['+Inf', '1.0', '2.5'], ['+Inf', '9'])
    """
    by_end = {float(le): le for le in les if le}
    below = [end for end in by_end if end <= bound_s]
    above = [end for end in by_end if bound_s < end < math.inf]
    kept = ([max(below)] if below else []) + ([min(above)] if above else [])
    return {by_end[end] for end in (*kept, math.inf) if end in by_end}


def _around(found: Matrix, bound_s: float) -> dict[int, set[str]]:
    """By process, the buckets next to the bound, and the last one; without a last one nothing is known."""
    les: dict[int, list[str]] = {}
    for labels, target in zip(found.labels, found.target.tolist(), strict=True):
        les.setdefault(target, []).append(labels.get("le", ""))
    near = {target: edges_near(names, bound_s) for target, names in les.items()}
    return {target: edges for target, edges in near.items() if math.inf in map(float, edges)}
