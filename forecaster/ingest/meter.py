"""Demand from a source that counts: read window by window, each slot once, resumed where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from forecaster.demand.counted import counted_sums, finer
from forecaster.domain.demand import SLOT_S, SlotSums
from forecaster.domain.errors import DataError
from forecaster.ingest.presets import Question, Source

WINDOW_S = 86_400
OVERLAP_S = 900
"""So much is read again before what is new: samples may come late."""
SETTLE_S = 30.0
"""A slot is read no sooner after its end: the last scrape must be in."""

Span = tuple[int, int]
Progress = Callable[[float, float], None]
"""Told seconds read and seconds to read."""


class MeterSink(Protocol):
    """Keeps counted slots and how far they reach."""

    def begin(self, service: str, from_s: int) -> Span | None:
        """The span that was read before; None for a new meter.

        Raises
        ------
        DataError
            When the service's requests are counted from a log there already.
        """
        ...

    def put(self, service: str, name: str, span: Span, sums: SlotSums) -> int:
        """Store a window's slots and that it was read, in one transaction; return the new arrivals."""
        ...


@dataclass(frozen=True, slots=True)
class MeterReport:
    """What a reading brought.

    Attributes
    ----------
    slots : int
        Minutes with arrivals that were read, new or again.
    arrivals : int
        Requests that were not known before.
    known_s : float
        Of the time read, how much the source knows, seconds.
    first_s, last_s : float or None
        The span that is covered by now, epoch seconds.
    """

    service: str
    windows: int
    slots: int
    arrivals: int
    known_s: float
    first_s: float
    last_s: float
    seconds: float


def windows(from_s: int, until_s: int, read: Span | None, step_s: int = SLOT_S) -> Iterator[Span]:
    """What is to be read, in an order in which what was read never has a hole.

    First on from the end of what was read, from a little before it; then back from its beginning.
    All bounds are multiples of `step_s`.

    Examples
    --------
    >>> day = 86_400
    >>> list(windows(0, 2 * day, None))
    [(0, 86400), (86400, 172800)]
    >>> list(windows(0, 3 * day, (day, 3 * day - 60)))
    [(258240, 259200), (0, 86400)]
    """
    since_s, end_s = read or (from_s, from_s)
    since_s = -(-since_s // step_s) * step_s
    # what was read in finer steps may end before its rounded beginning
    at_s = min(max(end_s - OVERLAP_S, since_s), end_s) // step_s * step_s
    while at_s < until_s:
        yield at_s, min(at_s + WINDOW_S, until_s)
        at_s += WINDOW_S
    while from_s < since_s:
        yield max(since_s - WINDOW_S, from_s), since_s
        since_s -= WINDOW_S


class Meter:
    """One service's demand, as a source counts it.

    Parameters
    ----------
    name : str
        Of the source, for people.
    step_s : int
        Seconds between two moments that are asked for, a multiple of `SLOT_S`.
    """

    def __init__(
        self,
        service: str,
        question: Question,
        source: Source,
        sink: MeterSink,
        *,
        name: str,
        step_s: int = SLOT_S,
    ) -> None:
        self.service, self._question, self._source, self._sink = service, question, source, sink
        self._name, self._step_s = name, step_s

    def read(
        self,
        from_s: float,
        now_s: float,
        progress: Progress = lambda done_s, all_s: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> MeterReport:
        """Read what is not known yet between `from_s` and now.

        Killed at any moment it goes on where it was; the same slots read again add nothing, and
        what came late is added.

        Raises
        ------
        SourceAwayError
            When the source is away: what was read stays.
        DataError
            When it refuses, or the service has a log there.
        """
        began_s = time.perf_counter()
        step_s = self._step_s
        first_s = int(from_s // step_s * step_s)
        until_s = int((now_s - SETTLE_S) // step_s * step_s)
        had = self._sink.begin(self.service, first_s)
        todo = list(windows(first_s, until_s, had, step_s))
        all_s = float(sum(to - at for at, to in todo))
        done_s, known_s, slots, arrivals, read = 0.0, 0.0, 0, 0, 0
        for at_s, to_s in todo:
            if stopped():
                break
            counted = self._question.counted(self._source, at_s, to_s, step_s)
            sums = counted_sums(finer(counted, step_s))
            arrivals += self._sink.put(self.service, self._name, (at_s, to_s), sums)
            known_s += step_s * counted.start_s.size
            slots += sums.start_s.size
            read += 1
            done_s += to_s - at_s
            progress(min(done_s, all_s), all_s)
        span = self._sink.begin(self.service, first_s) or (first_s, first_s)
        return MeterReport(
            self.service, read, slots, arrivals, known_s,
            float(span[0]), float(span[1]), time.perf_counter() - began_s,
        )  # fmt: skip


def refuse_silence(report: MeterReport) -> None:
    """Say it when the source knew nothing at all.

    Raises
    ------
    DataError
        With what to look at.
    """
    if not report.known_s and report.windows:
        raise DataError(
            f"Prometheus has no series for {report.service!r} in the time that was read",
            "check the preset, --match and --from; names are listed under /api/v1/label/__name__/values",
        )
