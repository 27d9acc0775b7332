"""Tidegate in the replay: what the daemon would have known, forecast, planned and ordered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from forecaster.capacity.kernel import Simulation, follow
from forecaster.domain.demand import DemandSeries, FloatArray, IntArray, RequestBatch, TokenMix
from forecaster.planning.budget import price_factor
from forecaster.planning.layers import Costs, schedule, violation_price_s
from forecaster.planning.risk import Grid, expected_outside_rps, tabulate
from forecaster.replay.scene import DAY_S, SLOT_S, TICK_S, Scene
from forecaster.replay.scorecard import inside_slo
from forecaster.replay.timeline import Timeline, timeline
from forecaster.seasonal.backtest import MIN_HISTORY_DAYS
from forecaster.seasonal.calibration import LEVELS
from forecaster.seasonal.live import LiveForecaster
from forecaster.seasonal.training import train

MEMBERS = ("pool",)
"""Who is trained anew at every midnight of the replay; the naives are always in."""
HORIZON_S = 4 * 3600.0
"""How far a tick plans: beyond it nothing changes what is ordered now."""
CHURN_S = 120.0
"""Unit-seconds that an order is thought to cost beside the warm-up: each one is a risk."""
_SLOT_TICKS = round(SLOT_S / TICK_S)


@dataclass(frozen=True)
class Tape:
    """Every forecast that would have been made in the scored window.

    Attributes
    ----------
    levels : tuple of float
        Quantile levels.
    load_erl : float64[B + K, H, Q]
        At planning tick k (every five minutes): quantiles of the load of the coming H slots.
    before : int
        B: ticks of the day before the scored window, from which the first price is learnt.
    """

    levels: tuple[float, ...]
    load_erl: FloatArray
    before: int


def record(scene: Scene, members: Sequence[str] = MEMBERS) -> Tape:
    """Forecast at every planning tick from what lies before it; trained anew at every midnight."""
    scored = scene.first // _SLOT_TICKS
    day = round(DAY_S / SLOT_S)
    before = max(min(scored - round(MIN_HISTORY_DAYS * day), day), 0)
    first, count = scored - before, scene.ticks // _SLOT_TICKS + before
    slots = int((HORIZON_S + scene.lead_s) // SLOT_S) + 2
    load = scene.loads.slot_erl
    tape = np.empty((count, slots, len(LEVELS)))
    live: LiveForecaster | None = None
    for k in range(count):
        at = first + k
        if live is None or (scene.loads.start_s + at * SLOT_S) % DAY_S == 0:
            live = _trained(scene, load[:at], members)
        tape[k] = live.forecast(slots, LEVELS, 0.0).arrival_rate_rps * SLOT_S
        live.advance(load[at : at + 1])
    return Tape(LEVELS, np.maximum(tape, 1e-9), before)


def _trained(scene: Scene, load: FloatArray, members: Sequence[str]) -> LiveForecaster:
    nothing = np.zeros(load.size)
    series = DemandSeries(
        "replay", scene.loads.start_s, SLOT_S, load, nothing, nothing,
        TokenMix(0, 0, 0, 0, 0), 1.0,
    )  # fmt: skip
    verdict = train(series, scene.calendar, members)
    return LiveForecaster(verdict.calibrated, series, scene.calendar)


@dataclass(frozen=True)
class Autopilot:
    """The plan function on a tape; the knob is a factor on what a violation is worth.

    Attributes
    ----------
    outside_rps : float64[K, M, N + 1]
        At each planning tick: expected requests/s outside in each coming minute with 0..N units.
    price_s : float64[K]
        Unit-seconds that a violation is worth, so that a plan of the day before would have spent
        its error budget.
    churn_s : float
        Unit-seconds that an order is thought to cost beside the warm-up.
    """

    scene: Scene
    outside_rps: FloatArray
    price_s: FloatArray
    churn_s: float

    @classmethod
    def prepare(cls, scene: Scene, tape: Tape, churn_s: float = CHURN_S) -> Autopilot:
        """Put the forecasts through the capacity curve once; knobs come later."""
        rates = tape.load_erl / scene.work_s
        most = int(scene.need(np.array([np.quantile(tape.load_erl[:, 0, -1], 0.999)]))[0])
        units = min(int(most * 1.5) + 4, scene.limits.max_units)
        grid = tabulate(scene.table, float(rates.min()), float(rates.max()), units)
        found = [_minutes(each, tape.levels, grid) for each in rates]
        outside = np.stack([each[0] for each in found[tape.before :]])
        return cls(scene, outside, _prices(scene, found, tape.before), churn_s)

    def units(self, knob: float) -> IntArray:
        """Ready and warming units after each tick."""
        present = self.start(knob)
        wanted = np.empty(self.price_s.size, np.int64)
        for k in range(wanted.size):
            present = wanted[k] = self.order(k, present, knob)
        return np.repeat(wanted, _SLOT_TICKS)

    def start(self, knob: float) -> int:
        """The fleet that is there when the window begins: what its first minute is worth."""
        costs = Costs(TICK_S, 0.0, 0.0, float(self.price_s[0]) * knob)
        limits = self.scene.limits
        plan = schedule(
            self.outside_rps[0, :1], costs, 0, step=limits.step_units, least=limits.min_units
        )
        return int(plan[0])

    def order(self, k: int, present: int, knob: float) -> int:
        """The fleet after the order of planning tick `k`."""
        scene = self.scene
        costs = Costs(
            slot_s=TICK_S,
            start_s=scene.lead_s + self.churn_s,
            stop_s=self.churn_s,
            violation_s=float(self.price_s[k]) * knob,
            lead_slots=scene.lead_ticks,
            least_on_slots=int(np.ceil(scene.unit.min_billing_s / TICK_S)),
        )
        limits = scene.limits
        plan = schedule(
            self.outside_rps[k], costs, present, step=limits.step_units,
            least=limits.min_units, most=limits.max_units,
        )  # fmt: skip
        return _order(plan, scene.lead_ticks, present)

    def steered(self, chunks: Iterable[RequestBatch], seed: int = 0) -> Timeline:
        """Live, without hindsight: what was kept of the SLO so far steers the price."""
        scene, slo = self.scene, self.scene.table.question.slo
        allowed = 1 - slo.attainment
        day = float(scene.loads.arrivals[: scene.first * 6][-8640:].sum())
        present = self.start(1.0)
        simulation = Simulation(scene.unit.profile, present, seed=seed)
        feed = Feed(chunks)
        wanted = np.empty(self.price_s.size, np.int64)
        outside = requests = 0.0
        ready = present
        for k in range(wanted.size):
            now_s = scene.start_s + k * SLOT_S
            done = simulation.run(feed.until(now_s))
            outside += float((~inside_slo(done, slo)).sum())
            requests += len(done)
            # the first day's budget is spent from the beginning, not saved for its end
            factor = price_factor(outside, requests, allowed, day)
            present = wanted[k] = self.order(k, present, factor)
            fleet = timeline(
                np.repeat(wanted[: k + 1], _SLOT_TICKS), scene.start_s, TICK_S, scene.lead_s
            )
            fresh = fleet.ready[k * _SLOT_TICKS :]
            times = now_s + TICK_S * np.arange(_SLOT_TICKS)
            simulation.order(follow(zip(times.tolist(), fresh.tolist(), strict=True), ready))
            ready = int(fresh[-1])
        return timeline(np.repeat(wanted, _SLOT_TICKS), scene.start_s, TICK_S, scene.lead_s)


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
            parts.append(_rows(chunk, slice(0, cut)))
            if cut < len(chunk):
                self._held = _rows(chunk, slice(cut, None))
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


def _rows(chunk: RequestBatch, rows: slice) -> RequestBatch:
    return RequestBatch(
        chunk.service, chunk.arrival_s[rows], chunk.prompt_tokens[rows], chunk.output_tokens[rows]
    )


def _prices(scene: Scene, found: list[tuple[FloatArray, FloatArray]], before: int) -> FloatArray:
    """Price at each scored tick: the one at which the plans of the day before would spend the budget.

    Known before the scored day begins; with less than a day of forecasts, from those there are, and
    without any from the hours that the first one foresees.
    """
    lead = min(scene.lead_ticks, found[0][0].shape[0] - 1)
    outside = np.stack([each[0][lead] for each in found])
    rate = np.array([each[1][lead] for each in found])
    share = 1 - scene.table.question.slo.attainment
    step = scene.limits.step_units
    day = round(DAY_S / SLOT_S)
    price = np.empty(len(found) - before)
    for begin in range(before, len(found), day):
        known = slice(max(begin - day, 0), begin)
        at_lead, rates = (outside[known], rate[known]) if begin else found[0]
        price[begin - before : begin - before + day] = violation_price_s(
            at_lead, rates, share, step
        )
    return price


def _order(plan: IntArray, lead: int, present: int) -> int:
    """What the fleet is to be after this order: what must be there when an order now is ready."""
    until = min(lead + _SLOT_TICKS, plan.size)
    rising = int(plan[lead:until].max())
    if rising > present:
        return rising
    return min(int(plan[:until].max()), present)


def _minutes(
    rates: FloatArray, levels: tuple[float, ...], grid: Grid
) -> tuple[FloatArray, FloatArray]:
    """Expected requests/s outside in each minute, and requests/s: quantiles linear between slots."""
    slots = rates.shape[0]
    middles = (np.arange(slots) + 0.5) * _SLOT_TICKS
    at = np.arange((slots - 1) * _SLOT_TICKS) + 0.5
    logs = np.log(rates)
    fine = np.stack([np.interp(at, middles, logs[:, q]) for q in range(logs.shape[1])], axis=1)
    return expected_outside_rps(np.exp(fine), levels, grid)


__all__ = ["HORIZON_S", "MEMBERS", "Autopilot", "Tape", "record"]
