"""A fleet of prefill and decode units under one trace, in pieces; it grows and shrinks as one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from forecaster.capacity.kernel.disaggregated import handed_over, handover_s
from forecaster.capacity.kernel.mixed import MixedSimulation
from forecaster.capacity.kernel.run import Finished, Simulation, Spans, joined
from forecaster.capacity.kernel.schedule import UnitEvent, UnitEventKind
from forecaster.capacity.kernel.state import DONE
from forecaster.domain.demand import IntArray, RequestBatch
from forecaster.domain.pools import PAIR, Pool, Split
from forecaster.domain.profile import PdProfile, UnitType

NOTHING = np.zeros(0, np.int64)


class PairSimulation:
    """Two pools whose sizes follow from the size of the fleet; otherwise as `Simulation`.

    Nothing flows back, so the decode pool is played as far as the first tokens are known.

    Parameters
    ----------
    profile : PdProfile
        Cost of work in each pool, and of the hand-over.
    split : Split
        How a fleet falls into the pools.
    units : int
        Units of both pools that are ready from the start.
    events : iterable of UnitEvent
        Units that become ready or drain, without saying which.
    """

    def __init__(
        self,
        profile: PdProfile,
        split: Split,
        units: int,
        events: Iterable[UnitEvent] = (),
        seed: int = 0,
    ) -> None:
        self._profile, self._split, self._units = profile, split, units
        pools = split.of(units)
        self._read = Simulation(profile.prefill, pools[Pool.PREFILL], seed=seed)
        self._generate = Simulation(profile.decoding, pools[Pool.DECODE], seed=seed, cached=True)
        self._came = 0
        self._open = RequestBatch("", np.zeros(0), NOTHING, NOTHING)
        self._numbers, self._ttft_s, self._due_s = NOTHING, np.zeros(0), np.zeros(0)
        self._sent = NOTHING
        self.order(events)

    def order(self, events: Iterable[UnitEvent]) -> None:
        """Add events to those to come, in order of time; each one changes the pool whose turn it is."""
        changes: dict[Pool, list[UnitEvent]] = {pool: [] for pool in PAIR}
        for event in sorted(events, key=lambda each: each.at_s):
            before = self._split.of(self._units)
            self._units += 1 if event.kind is UnitEventKind.READY else -1
            after = self._split.of(self._units)
            for pool in PAIR:
                moved = abs(after[pool] - before[pool])
                changes[pool] += [UnitEvent(event.at_s, event.kind)] * moved
        self._read.order(changes[Pool.PREFILL])
        self._generate.order(changes[Pool.DECODE])

    @property
    def unfinished(self) -> int:
        """Requests accepted and not yet finished."""
        return len(self._open)

    def run(self, chunk: RequestBatch, last: bool = False) -> Finished:
        """Play the next requests; return those that have finished, see `Simulation.run`."""
        self._accept(chunk)
        ones = np.ones(len(chunk), np.int64)
        first = self._read.run(
            RequestBatch(chunk.service, chunk.arrival_s, chunk.prompt_tokens, ones), last=last
        )
        rows = np.searchsorted(self._numbers, first.number)
        self._ttft_s[rows] = first.ttft_s
        goes_on = (first.status == DONE) & (self._open.output_tokens[rows] > 1)
        going = rows[goes_on]
        ready_s = self._open.arrival_s[going] + self._ttft_s[going]
        self._due_s[going] = ready_s + handover_s(self._profile, self._open.prompt_tokens[going])
        until_s = np.inf if last else float(chunk.arrival_s[-1]) if len(chunk) else -np.inf
        rest = self._generated(until_s, last)
        ended = joined([_rows(first, ~goes_on), rest])
        self._forget(ended.number)
        return ended

    def spans(self) -> Spans:
        """Every unit of both pools, see `Simulation.spans`."""
        both = (self._read.spans(), self._generate.spans())
        return Spans(
            *(
                np.concatenate([getattr(each, name) for each in both])
                for name in Spans.__dataclass_fields__
            )
        )

    def _accept(self, chunk: RequestBatch) -> None:
        count = len(chunk)
        numbers = np.arange(self._came, self._came + count)
        self._came += count
        self._numbers = np.concatenate([self._numbers, numbers])
        self._ttft_s = np.concatenate([self._ttft_s, np.full(count, np.nan)])
        self._due_s = np.concatenate([self._due_s, np.full(count, np.inf)])
        self._open = RequestBatch(
            chunk.service,
            np.concatenate([self._open.arrival_s, chunk.arrival_s]),
            np.concatenate([self._open.prompt_tokens, chunk.prompt_tokens]),
            np.concatenate([self._open.output_tokens, chunk.output_tokens]),
        )

    def _generated(self, until_s: float, last: bool) -> Finished:
        """Hand over what is due by `until_s`, and play the decode pool as far."""
        due = np.flatnonzero(self._due_s <= min(until_s, np.finfo(np.float64).max))
        due = due[np.argsort(self._due_s[due], kind="stable")]
        batch = handed_over(self._open, self._due_s, due)
        self._sent = np.concatenate([self._sent, self._numbers[due]])
        self._due_s[due] = np.inf
        done = self._generate.run(batch, last=last)
        numbers = self._sent[done.number]
        rows = np.searchsorted(self._numbers, numbers)
        arrival_s, ttft_s = self._open.arrival_s[rows], self._ttft_s[rows]
        latency_s = done.arrival_s + done.latency_s - arrival_s
        gaps = np.maximum(self._open.output_tokens[rows] - 1, 1)
        tpot_s = np.where(done.status == DONE, (latency_s - ttft_s) / gaps, np.nan)
        return Finished(numbers, done.unit, done.status, arrival_s, ttft_s, tpot_s, latency_s)

    def _forget(self, numbers: IntArray) -> None:
        keep = ~np.isin(self._numbers, numbers, assume_unique=True)
        batch = self._open
        self._numbers = self._numbers[keep]
        self._ttft_s, self._due_s = self._ttft_s[keep], self._due_s[keep]
        self._open = RequestBatch(
            batch.service,
            batch.arrival_s[keep],
            batch.prompt_tokens[keep],
            batch.output_tokens[keep],
        )


def fleet_of(
    unit: UnitType, split: Split, units: int, events: Iterable[UnitEvent] = (), seed: int = 0
) -> Simulation | PairSimulation | MixedSimulation:
    """A fleet of one type of unit, of one pool or of two, or of several types."""
    if unit.mixed is not None:
        types = unit.by_pool
        profiles = [types[pool].profile for pool in split.pools]
        return MixedSimulation(profiles, split, units, events, seed)
    if unit.pair is None:
        return Simulation(unit.profile, units, events=events, seed=seed)
    return PairSimulation(unit.pair.profile, split, units, events, seed)


def _rows(done: Finished, keep: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Finished:
    return Finished(*(getattr(done, name)[keep] for name in Finished.__dataclass_fields__))
