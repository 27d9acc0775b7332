"""Tidegate played live: no hindsight, one planning tick after the other, on the simulated tier."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

import numpy as np
import numpy.typing as npt

from forecaster.capacity.belief import Belief, learn
from forecaster.capacity.kernel import Finished, fleet_of, follow
from forecaster.domain.demand import FloatArray, RequestBatch
from forecaster.planning.budget import load_factor
from forecaster.planning.course import by_minute
from forecaster.replay.autopilot import SLOT_TICKS, Autopilot
from forecaster.replay.scene import DAY_S, FINE_S, SLOT_S, TICK_S
from forecaster.replay.scorecard import Score, Scorer, inside_slo, rows_of
from forecaster.replay.timeline import Timeline
from forecaster.replay.trough import Trough


def steered(pilot: Autopilot, chunks: Iterable[RequestBatch], seed: int = 0) -> Timeline:
    """One service over its scored window, see `Live`."""
    live = Live(pilot, chunks, seed)
    for k in range(pilot.ticks):
        outside = live.observe(k)
        live.order(k, pilot.due(pilot.held(k, live.present, outside), live.present))
    return live.fleet


class Live:
    """One service played without hindsight: what was kept of the SLO so far steers its plan.

    As in the daemon, the belief learns what the units truly carry, the budget what is left to spend.

    Parameters
    ----------
    pilot : Autopilot
        Who plans.
    chunks : iterable of RequestBatch
        The scored window's requests.

    Attributes
    ----------
    present, ready : int
        Ready and warming units after the last order; those that answer.
    believed : float
        Measured over predicted capacity, as far as it is believed.
    """

    def __init__(self, pilot: Autopilot, chunks: Iterable[RequestBatch], seed: int = 0) -> None:
        self.pilot, scene = pilot, pilot.scene
        self._allowed = 1 - scene.table.question.slo.attainment
        per_tick = round(TICK_S / FINE_S)
        past = scene.loads.arrivals[: (scene.first + 1) * per_tick][-round(DAY_S / FINE_S) :]
        self._day = float(past.mean()) * DAY_S / FINE_S
        self._feed, self._seed = Feed(chunks), seed
        self._wanted = np.empty(pilot.ticks, np.int64)
        self._outside = self._requests = self._foreseen = 0.0
        self._belief, self._steady = Belief(), False
        self._numbers = 0
        self._filling: RequestBatch | None = None
        self._batch_rows: dict[int, int] = {}
        self._rows, self._batch_s = slice(0, 0), 0.0
        self._tally = Scorer(scene.table.question.slo, scene.start_s, scene.ticks)
        self.trough: Trough | None = None
        self.begin(pilot.start(pilot.outside(1.0, slice(0, 1))[0]))

    def begin(self, units: int) -> None:
        """Start with so many units that are ready."""
        self.present = self.ready = units
        scene = self.pilot.scene
        self._simulation = fleet_of(scene.unit, scene.table.split, units, seed=self._seed)

    @property
    def draining(self) -> int:
        """Units that only finish what they hold."""
        spans = self._simulation.spans()
        return int((np.isinf(spans.gone_s) & np.isfinite(spans.drain_s)).sum())

    @property
    def believed(self) -> float:
        """Measured over predicted capacity."""
        return self._belief.factor

    def fill(self, k: int, work_s: float) -> None:
        """Let at most so much batch work into the slot of planning tick `k`, busy seconds."""
        if self.trough is None:
            return
        now_s = self.pilot.scene.start_s + k * SLOT_S
        self._filling, self._rows = self.trough.let_in(now_s, SLOT_S, work_s)
        self._batch_s = self.trough.work_s(self._rows)  # what came, not what there was room for

    def end(self) -> Score:
        """Play to the last answer; what became of the interactive requests."""
        self._played(self._feed.until(np.inf))
        nothing = np.zeros(0, np.int64)
        last = RequestBatch("", np.zeros(0), nothing, nothing)
        self._counted(self._simulation.run(last, last=True))
        spans = self._simulation.spans()
        drained = np.isfinite(spans.gone_s)
        return self._tally.score(float((spans.gone_s[drained] - spans.drain_s[drained]).sum()))

    def _played(self, chunk: RequestBatch) -> Finished:
        """Play interactive requests and the batch requests that were let in beside them."""
        filling, self._filling = self._filling, None
        if filling is not None and len(filling):
            at_s = np.concatenate([chunk.arrival_s, filling.arrival_s])
            order = np.argsort(at_s, kind="stable")
            batch = np.flatnonzero(order >= len(chunk))
            rows = self._rows.start + order[batch] - len(chunk)
            self._batch_rows.update(
                zip((self._numbers + batch).tolist(), rows.tolist(), strict=True)
            )
            chunk = RequestBatch(
                chunk.service,
                at_s[order],
                np.concatenate([chunk.prompt_tokens, filling.prompt_tokens])[order],
                np.concatenate([chunk.output_tokens, filling.output_tokens])[order],
            )
        self._numbers += len(chunk)
        return self._counted(self._simulation.run(chunk))

    def _counted(self, done: Finished) -> Finished:
        """Interactive requests among those that have finished; batch ones are ticked off."""
        if self.trough is not None and self._batch_rows:
            rows = np.array([self._batch_rows.pop(n, -1) for n in done.number.tolist()], np.int64)
            self.trough.answered(rows[rows >= 0], rows_done(done, rows >= 0))
            done = rows_done(done, rows < 0)
        self._tally.add(done)
        return done

    def observe(self, k: int) -> FloatArray:
        """Play until planning tick `k`, learn, and say what the coming minutes would put outside."""
        pilot, scene = self.pilot, self.pilot.scene
        done = self._played(self._feed.until(scene.start_s + k * SLOT_S))
        # what waits longer than it may is outside already
        late = int((~inside_slo(done, scene.table.question.slo)).sum())
        self._outside += late
        self._requests += len(done)
        if self._steady:
            rate = (pilot.came_erl(k - 1) + self._batch_s / SLOT_S) / scene.work_s
            self._belief = learn(
                self._belief, scene.table, self.ready, rate, len(done), late, SLOT_S
            )
        believed = self.believed
        factor = load_factor(
            self._outside, self._requests, self._foreseen, self._allowed, self._day
        )
        ahead = pilot.outside(factor / believed, slice(k, k + 1))[0] * believed
        even = pilot.outside(1 / believed, slice(k, k + 1))[0, 0] * believed
        self._foreseen += float(even[min(self.ready, even.size - 1)]) * SLOT_S
        return by_minute(ahead, SLOT_TICKS)

    def order(self, k: int, units: int) -> None:
        """Have so many units, ready or warming, from planning tick `k` on."""
        scene = self.pilot.scene
        now_s = scene.start_s + k * SLOT_S
        self.present = self._wanted[k] = units
        orders = np.repeat(self._wanted[: k + 1], SLOT_TICKS)
        fresh = scene.carried_out(orders).ready[-SLOT_TICKS:]
        times = now_s + TICK_S * np.arange(SLOT_TICKS)
        events = follow(zip(times.tolist(), fresh.tolist(), strict=True), self.ready)
        self._simulation.order(events)
        self._steady = bool((fresh == self.ready).all())
        self.ready = int(fresh[-1])

    @property
    def fleet(self) -> Timeline:
        """What was there."""
        scene = self.pilot.scene
        return scene.carried_out(np.repeat(self._wanted, SLOT_TICKS))


def rows_done(done: Finished, keep: npt.NDArray[np.bool_]) -> Finished:
    """Some of the finished requests."""
    return Finished(*(getattr(done, each.name)[keep] for each in fields(done)))


class Feed:
    """A stream of requests, given out up to a moment."""

    def __init__(self, chunks: Iterable[RequestBatch]) -> None:
        self._chunks = iter(chunks)
        self._held: RequestBatch | None = None

    def until(self, time_s: float) -> RequestBatch:
        """Requests that arrive before `time_s` and were not given out."""
        parts: list[RequestBatch] = []
        while True:
            chunk = self._held if self._held is not None else next(self._chunks, None)
            self._held = None
            if chunk is None:
                break
            cut = int(np.searchsorted(chunk.arrival_s, time_s))
            parts.append(rows_of(chunk, slice(0, cut)))
            if cut < len(chunk):
                self._held = rows_of(chunk, slice(cut, None))
                break
        if not parts:
            nothing = np.zeros(0, np.int64)
            return RequestBatch("", np.zeros(0), nothing, nothing)
        return RequestBatch(
            parts[0].service,
            np.concatenate([each.arrival_s for each in parts]),
            np.concatenate([each.prompt_tokens for each in parts]),
            np.concatenate([each.output_tokens for each in parts]),
        )
