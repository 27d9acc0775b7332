"""A simulation that takes a trace in pieces and gives back what has finished."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np

from forecaster.capacity.kernel.loop import play
from forecaster.capacity.kernel.schedule import UnitEvent, UnitEventKind
from forecaster.capacity.kernel.state import (
    DONE,
    FINISHED,
    GONE,
    ROWS_MAX,
    SPAN,
    Records,
    Routing,
    State,
    costs_of,
    empty_state,
    live_requests,
    with_rows,
    with_units,
)
from forecaster.domain.demand import MAX_TOKENS, FloatArray, IntArray, RequestBatch
from forecaster.domain.errors import DataError, ModelError, SettingError
from forecaster.domain.profile import Profile

PIECE = 1 << 16
"""Requests that are played at once: bounds the memory of a long chunk."""
NO_TIME = -np.inf
END_OF_TIME = float(np.finfo(np.float64).max)
"""Below infinity, where idle units are due."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Requests that have finished, in columns, in the order in which the kernel met their end.

    Attributes
    ----------
    number : int64[n]
        Place of the request in the whole trace, from 0.
    unit : int64[n]
        Who answered it; -1 for one that was refused.
    status : int64[n]
        0 done, 1 failed (its unit crashed after it had started), 2 refused (larger than the cache).
    arrival_s, ttft_s, tpot_s, latency_s : float64[n]
        Seconds. TPOT is the mean gap between tokens after the first: NaN with one token; the other
        times of a request that failed end with the crash, a first token that never came is NaN.
    """

    number: IntArray
    unit: IntArray
    status: IntArray
    arrival_s: FloatArray
    ttft_s: FloatArray
    tpot_s: FloatArray
    latency_s: FloatArray

    def __len__(self) -> int:
        return int(self.number.size)

    @property
    def done(self) -> Finished:
        """Only the requests that were answered in full."""
        keep = self.status == DONE
        return Finished(*(getattr(self, each.name)[keep] for each in fields(self)))

    @property
    def in_order(self) -> Finished:
        """The same requests in order of arrival."""
        order = np.argsort(self.number)
        return Finished(*(getattr(self, each.name)[order] for each in fields(self)))


@dataclass(frozen=True, slots=True)
class Spans:
    """What each unit was from ready to gone, in columns: the ledger's raw material.

    Attributes
    ----------
    unit : int64[n]
        Number of the unit; numbers are used again after a unit is gone.
    ready_s, drain_s, gone_s : float64[n]
        When it became ready, stopped taking requests and was gone (inf: not yet).
    crashed : bool[n]
        Whether it crashed.
    """

    unit: IntArray
    ready_s: FloatArray
    drain_s: FloatArray
    gone_s: FloatArray
    crashed: np.ndarray[tuple[int], np.dtype[np.bool_]]


class Simulation:
    """One fleet under one trace. Everything random comes in with the trace or from `seed`.

    Parameters
    ----------
    profile : Profile
        Cost of work of every unit.
    units : int
        Units that are ready from the start.
    routing : Routing
        The router's rule.
    room : int or None
        Requests that one unit is given at once, the rest waits in one queue; None: `max_batch`
        sequences, or two batches of a classic model. Room for 1 and a largest batch of 1 is M/G/k.
    events : iterable of UnitEvent
        What happens to the fleet, any order.
    seed : int
        Of the routing dice.
    cached : bool
        Whether prompts come already read (`disaggregated.decode_requests`).

    Examples
    --------
    >>> from forecaster.domain.profile import GenerativeProfile
    >>> unit = GenerativeProfile(alpha_s=0.1, beta_s=0.01, kappa_s=0.0, gamma_s=0.001)
    >>> one = RequestBatch("s", np.array([5.0]), np.array([100]), np.array([3]))
    >>> done = Simulation(unit, units=1).run(one, last=True)
    >>> done.ttft_s.round(3), done.tpot_s.round(3)  # 0.1 + 100 x 0.001, then 0.1 + 0.01 each
    (array([0.2]), array([0.11]))
    """

    def __init__(
        self,
        profile: Profile,
        units: int,
        routing: Routing = Routing.LEAST_WORK,
        room: int | None = None,
        events: Iterable[UnitEvent] = (),
        seed: int = 0,
        cached: bool = False,
    ) -> None:
        if units < 0 or (room is not None and room < 1):
            raise SettingError("units", units, "0 or more units, with room for at least 1 request")
        at_start = [UnitEvent(NO_TIME, UnitEventKind.READY, u) for u in range(units)]
        self._costs = costs_of(profile, routing, room, cached)
        self._event_s: FloatArray = np.zeros(0)
        self._kinds: IntArray = np.zeros(0, np.int64)
        self._units: IntArray = np.zeros(0, np.int64)
        self._played = 0
        self._now_s = NO_TIME
        self._state = empty_state(self._costs, seed)
        self._spans: list[Records] = []
        self.order([*at_start, *events])

    def order(self, events: Iterable[UnitEvent]) -> None:
        """Add events to those to come; an event of an equal time that was known before goes first.

        Parameters
        ----------
        events : iterable of UnitEvent
            Any order, none before what has been played. One at the very time of the last request
            played comes behind that request.

        Raises
        ------
        DataError
            When an event lies before what has been played, or its time is not a number. None of
            `events` is then added.

        Examples
        --------
        >>> from forecaster.domain.profile import ClassicProfile
        >>> sim = Simulation(ClassicProfile(((1, 1.0),)), units=1)
        >>> _ = sim.advance(10.0)
        >>> sim.order([UnitEvent(20.0, UnitEventKind.READY)])
        >>> _ = sim.advance(30.0)
        >>> sim.spans().ready_s
        array([-inf,  20.])
        """
        added = list(events)
        at_s = np.array([each.at_s for each in added], np.float64)
        if not (at_s >= self._now_s).all():
            worst = float(at_s[~(at_s >= self._now_s)][0])
            raise DataError(f"a fleet event at {worst} s is before {self._now_s} s, which has been played", "")  # fmt: skip
        kinds = np.array([each.kind for each in added], np.int64)
        units = np.array([each.unit for each in added], np.int64)
        left = slice(self._played, None)
        event_s = np.concatenate([self._event_s[left], at_s])
        order = np.argsort(event_s, kind="stable")
        self._event_s = event_s[order]
        self._kinds = np.concatenate([self._kinds[left], kinds])[order]
        self._units = np.concatenate([self._units[left], units])[order]
        self._played = 0

    @property
    def unfinished(self) -> int:
        """Requests accepted and not yet finished."""
        return live_requests(self._state)

    def run(
        self, chunk: RequestBatch, factor: FloatArray | None = None, last: bool = False
    ) -> Finished:
        """Play the next requests of the trace and return those that have finished by their end.

        Parameters
        ----------
        chunk : RequestBatch
            Requests in order of arrival, none before the chunk before. Empty is allowed.
        factor : float64[n] or None
            Classic units: what the time of the pass that a request leads is multiplied with
            (mean 1; its squared coefficient of variation is that of the service). None: 1.
        last : bool
            Whether to go on until everything has finished.

        Raises
        ------
        DataError
            When arrivals are not finite or not in order, or tokens are out of range.
        ModelError
            When more requests wait than the kernel holds, or some can never finish.
        """
        factors = np.ones(len(chunk)) if factor is None else np.asarray(factor, np.float64)
        self._check(chunk, factors)
        parts: list[Finished] = []
        for begin in range(0, len(chunk), PIECE):
            piece = slice(begin, begin + PIECE)
            columns = (
                np.ascontiguousarray(chunk.arrival_s[piece], np.float64),
                np.ascontiguousarray(chunk.prompt_tokens[piece], np.int64),
                np.ascontiguousarray(chunk.output_tokens[piece], np.int64),
                np.ascontiguousarray(factors[piece]),
            )
            parts.append(self._play(columns, float(columns[0][-1]), NO_TIME))
        if last:
            parts.append(self._go_on(END_OF_TIME))
            if self.unfinished:
                raise ModelError(f"{self.unfinished} requests wait for a unit that never comes",
                                 "give the fleet a unit")  # fmt: skip
        return joined(parts)

    def advance(self, until_s: float) -> Finished:
        """Go on without arrivals to `until_s` and return what has finished since.

        Raises
        ------
        DataError
            When `until_s` is before what has been played.
        """
        if not until_s >= self._now_s:
            raise DataError(f"{until_s} s is before {self._now_s} s, which has been played", "")
        self._now_s = min(until_s, END_OF_TIME)
        return self._go_on(self._now_s)

    def _go_on(self, until_s: float) -> Finished:
        empty = np.zeros(0, np.int64)
        return self._play((np.zeros(0), empty, empty, np.zeros(0)), until_s, until_s)

    def spans(self) -> Spans:
        """Every unit so far from ready to gone, in order of ending; those that still live last."""
        state = self._state
        alive = np.flatnonzero(state.units["life"] != GONE)
        open_ended = np.zeros(alive.size, SPAN)
        units = state.units[alive]
        open_ended["unit"], open_ended["ready_s"] = alive, units["ready_s"]
        open_ended["drain_s"] = np.where(units["life"] == 1, np.inf, units["drain_s"])
        open_ended["gone_s"] = np.inf
        records = np.concatenate([*self._spans, open_ended])
        return Spans(
            records["unit"].copy(), records["ready_s"].copy(), records["drain_s"].copy(),
            records["gone_s"].copy(), records["crashed"] == 1,
        )  # fmt: skip

    def _play(
        self,
        columns: tuple[FloatArray, IntArray, IntArray, FloatArray],
        events_until_s: float,
        until_s: float,
    ) -> Finished:
        """Play one piece with the fleet events that are due by its end."""
        due = int(np.searchsorted(self._event_s, events_until_s, side="right"))
        now = slice(self._played, due)
        events = (self._event_s[now], self._kinds[now], self._units[now])
        self._played = due
        self._state = self._prepared(columns[0].size, events[1], events[2])
        play(self._state, self._costs, columns, events, until_s)
        book = self._state.book
        self._spans.append(self._state.spans[: int(book["spans"][0])].copy())
        return _columns(self._state.finished[: int(book["finished"][0])])

    def _prepared(self, arrivals: int, kinds: IntArray, units: IntArray) -> State:
        """Return the state with room for what may come, counters of results at zero."""
        state = self._state
        alive = int((state.units["life"] != GONE).sum())
        born = int((kinds == UnitEventKind.READY).sum())
        state = with_units(state, max(alive + born, int(units.max(initial=-1)) + 1))
        if live_requests(state) + arrivals > ROWS_MAX:
            raise ModelError(
                f"{live_requests(state)} requests wait: the fleet falls behind",
                "give it more units",
            )
        state = with_rows(state, arrivals)
        state.book["finished"] = state.book["spans"] = 0
        return state._replace(spans=np.zeros(alive + born, SPAN))

    def _check(self, chunk: RequestBatch, factor: FloatArray) -> None:
        arrival_s = np.asarray(chunk.arrival_s)
        if not len(chunk):
            return
        if not np.isfinite(arrival_s).all():
            raise DataError("an arrival is not a finite number", "drop the row")
        if (np.diff(arrival_s) < 0).any() or arrival_s[0] < self._now_s:
            raise DataError("arrivals are not in order of time", "sort the trace")
        for tokens in (np.asarray(chunk.prompt_tokens), np.asarray(chunk.output_tokens)):
            if tokens.min() < 0 or tokens.max() > MAX_TOKENS:
                raise DataError(f"tokens outside 0..{MAX_TOKENS}", "drop the row")
        if factor.shape != arrival_s.shape or not (factor > 0).all():
            raise DataError("factors are not one positive number a request", "see `factor`")
        self._now_s = float(arrival_s[-1])


def simulate(
    profile: Profile,
    trace: RequestBatch,
    units: int,
    routing: Routing = Routing.LEAST_WORK,
    seed: int = 0,
) -> Finished:
    """Return every request of a trace in order of arrival, through a fixed number of units."""
    return Simulation(profile, units, routing, seed=seed).run(trace, last=True).in_order


def _columns(records: Records) -> Finished:
    """Columns of their own: the kernel writes over the records."""
    return Finished(*(np.array(records[each.name]) for each in fields(Finished)))


def joined(parts: list[Finished]) -> Finished:
    """Requests of several pieces as one."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return _columns(np.zeros(0, FINISHED))
    return Finished(
        *(np.concatenate([getattr(p, each.name) for p in parts]) for each in fields(Finished))
    )
