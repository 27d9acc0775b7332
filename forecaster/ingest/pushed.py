"""Demand from samples that were pushed to us: the same counters, the same meter, another source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from forecaster.demand.counted import counted_sums
from forecaster.demand.sampled import on_moments
from forecaster.domain.demand import SLOT_S, IntArray, SlotSums
from forecaster.domain.samples import Due, Kept
from forecaster.ingest.meter import SETTLE_S, WINDOW_S, MeterSink, Span
from forecaster.ingest.presets import Counters
from forecaster.ingest.prometheus import Matrix, targets
from forecaster.ingest.selectors import selector

GAP_S = 300.0
"""A counter that says nothing for longer has a hole: what came meanwhile is not known."""
NAME = "pushed"


class Samples(Protocol):
    """Keeps what was pushed."""

    def take(self, service: str) -> Due | None:
        """What is to be counted, ours until `taken`; None where nothing came ever."""
        ...

    def taken(self, service: str, until_s: int) -> None:
        """Say that everything before is counted."""
        ...

    def kept(self, service: str, name: str, from_s: float, to_s: float) -> Sequence[Kept]:
        """Samples of every series of a name, by minutes that end in ``[from_s, to_s]``."""
        ...


class CountedSink(MeterSink, Protocol):
    """A sink whose slots can be counted anew."""

    def replace(
        self, service: str, name: str, span: Span, sums: SlotSums, known_s: IntArray
    ) -> int:
        """Store a window in the place of what was known of the slots `known_s`."""
        ...


class PushedSource:
    """Samples of one service as `Prometheus.range` would give them."""

    def __init__(self, service: str, samples: Samples) -> None:
        self._service, self._samples = service, samples

    def range(self, query: str, first_s: int, last_s: int, step_s: int) -> Matrix:
        """Values of a selector at every `step_s` from `first_s` to `last_s`, both included."""
        asked = selector(query)
        found = [
            each
            for each in self._samples.kept(
                self._service, asked.name, first_s - GAP_S, last_s + GAP_S
            )
            if asked.takes(each.labels)
        ]
        moments = np.arange(first_s, last_s + 1, step_s, dtype=np.int64)
        values = np.array([on_moments(each, moments, GAP_S) for each in found])
        labels = tuple(each.labels for each in found)
        target = targets(labels)
        return Matrix(
            labels, values.reshape(len(found), moments.size), target, _born(found, target, moments)
        )


class PushedMeter:
    """One service's demand from pushed samples, counted as they come and again where late ones do.

    Parameters
    ----------
    judge : callable
        Told each span before it is counted: says what was outside the SLO in it.
    """

    def __init__(
        self,
        service: str,
        question: Counters,
        samples: Samples,
        sink: CountedSink,
        judge: Callable[[Span], None] = lambda span: None,
    ) -> None:
        self.service, self._question = service, question
        self._samples, self._sink, self._judge = samples, sink, judge
        self._source = PushedSource(service, samples)

    def read(self, now_s: float) -> int:
        """Count the minutes that changed; return the new arrivals.

        A minute is counted when it is over and a sample has come from its end or later: where
        nothing comes, nothing is known. Killed at any moment, it counts the same minutes again.

        Raises
        ------
        DataError
            When the service has a log there.
        """
        due = self._samples.take(self.service)
        if due is None:
            return 0
        until_s = min(int(now_s - SETTLE_S) // SLOT_S * SLOT_S, due.newest_s)
        span = self._sink.begin(self.service, due.since_s)
        # a sample changes the line to the one before it
        from_s = max(due.from_s - SLOT_S - int(GAP_S), due.since_s)
        if span is not None:
            from_s = min(from_s, span[1])
        arrivals = 0
        for at_s in range(from_s, until_s, WINDOW_S):
            to_s = min(at_s + WINDOW_S, until_s)
            counted = self._question.counted(self._source, at_s, to_s, SLOT_S)
            self._judge((at_s, to_s))
            arrivals += self._sink.replace(
                self.service, NAME, (at_s, to_s), counted_sums(counted), counted.start_s
            )
        self._samples.taken(self.service, max(until_s, min(due.from_s, due.newest_s)))
        return arrivals


def _born(found: Sequence[Kept], target: IntArray, moment_s: IntArray) -> npt.NDArray[np.bool_]:
    """Where a series may have begun at 0: at its first sample, in a process that was known before.

    Senders speak in several voices: at first contact one label of a process may come minutes after
    another, with all its past.
    """
    since_s = np.array([each.since_s for each in found])
    first_s = np.full(int(target.max(initial=-1)) + 1, np.inf)
    np.minimum.at(first_s, target, since_s)
    later = since_s - first_s[target] > GAP_S
    ends = np.ceil(since_s / SLOT_S) * SLOT_S
    return np.asarray(later[:, None] & (ends[:, None] == moment_s[None, :]), np.bool_)
