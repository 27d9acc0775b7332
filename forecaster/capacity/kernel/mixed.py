"""A fleet of several types under one trace, in pieces; it grows and shrinks along a ladder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from forecaster.capacity.kernel.run import END_OF_TIME, Finished, Simulation, Spans, joined
from forecaster.capacity.kernel.schedule import UnitEvent, UnitEventKind
from forecaster.domain.demand import FloatArray, IntArray, RequestBatch
from forecaster.domain.pools import Split
from forecaster.domain.profile import Profile


class MixedSimulation:
    """Types of units whose numbers follow from the size of the fleet; otherwise as `Simulation`.

    A request goes to a type by chance, in proportion to what its ready units carry, then to its unit
    with the least work: what sizing tables of several types promise. A router that sees all units
    at once leaves fewer outside.

    Parameters
    ----------
    profiles : sequence of Profile
        Cost of work on a unit of each of the split's pools.
    split : Split
        How a fleet falls into types.
    units : int
        Units of all types that are ready from the start.
    events : iterable of UnitEvent
        Units that become ready or drain, without saying which.
    """

    def __init__(
        self,
        profiles: Sequence[Profile],
        split: Split,
        units: int,
        events: Iterable[UnitEvent] = (),
        seed: int = 0,
    ) -> None:
        self._split, self._units = split, units
        counts = self._counts(units)
        self._types = [
            Simulation(profile, count, seed=seed + i)
            for i, (profile, count) in enumerate(zip(profiles, counts, strict=True))
        ]
        self._numbers: list[IntArray] = [np.zeros(0, np.int64) for _ in profiles]
        self._carries = np.asarray(split.carries)
        self._random = np.random.default_rng(seed)
        self._came = 0
        self._changes: list[tuple[float, int]] = [(-np.inf, units)]
        self.order(events)

    def _counts(self, units: int) -> list[int]:
        return list(self._split.of(units).values())

    def order(self, events: Iterable[UnitEvent]) -> None:
        """Add events to those to come, in order of time; each one changes the type whose turn it is."""
        changes: list[list[UnitEvent]] = [[] for _ in self._types]
        for event in sorted(events, key=lambda each: each.at_s):
            before = self._counts(self._units)
            self._units += 1 if event.kind is UnitEventKind.READY else -1
            after = self._counts(self._units)
            self._changes.append((event.at_s, self._units))
            for i, (old, new) in enumerate(zip(before, after, strict=True)):
                changes[i] += [UnitEvent(event.at_s, event.kind)] * abs(new - old)
        for simulation, own in zip(self._types, changes, strict=True):
            simulation.order(own)

    @property
    def unfinished(self) -> int:
        """Requests accepted and not yet finished."""
        return sum(each.unfinished for each in self._types)

    def run(self, chunk: RequestBatch, last: bool = False) -> Finished:
        """Play the next requests; return those that have finished, see `Simulation.run`."""
        numbers = np.arange(self._came, self._came + len(chunk))
        self._came += len(chunk)
        whose = self._drawn(np.asarray(chunk.arrival_s, np.float64))
        parts = []
        for i, simulation in enumerate(self._types):
            own = whose == i
            self._numbers[i] = np.concatenate([self._numbers[i], numbers[own]])
            rows = RequestBatch(
                chunk.service, chunk.arrival_s[own], chunk.prompt_tokens[own],
                chunk.output_tokens[own],
            )  # fmt: skip
            parts.append(self._whole(i, simulation.run(rows, last=last)))
            if len(chunk) and not last:
                until_s = min(float(chunk.arrival_s[-1]), END_OF_TIME)
                parts.append(self._whole(i, simulation.advance(until_s)))
        return joined(parts)

    def spans(self) -> Spans:
        """Every unit of all types, see `Simulation.spans`."""
        found = [each.spans() for each in self._types]
        return Spans(
            *(
                np.concatenate([getattr(each, name) for each in found])
                for name in Spans.__dataclass_fields__
            )
        )

    def _drawn(self, arrival_s: FloatArray) -> IntArray:
        """The type that each request goes to, by the fleet at its arrival."""
        at_s = np.array([at for at, _ in self._changes])
        which = np.searchsorted(at_s, arrival_s, side="right") - 1
        weights = np.array([self._counts(units) for _, units in self._changes]) * self._carries
        weights[weights.sum(axis=1) == 0, self._split.path[0] if self._split.path else 0] = 1.0
        upto = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
        if arrival_s.size:  # what lies behind is asked for no more
            self._changes = self._changes[int(which[-1]) :]
        dice = self._random.random(arrival_s.size)
        return np.asarray((dice[:, None] >= upto[which, :-1]).sum(axis=1))

    def _whole(self, which: int, done: Finished) -> Finished:
        """Numbers of the whole trace and of the whole fleet."""
        unit = np.where(done.unit >= 0, done.unit * len(self._types) + which, done.unit)
        return replace(done, number=self._numbers[which][done.number], unit=unit)
