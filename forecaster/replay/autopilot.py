"""Tidegate in the replay: what the daemon would have known, forecast, planned and ordered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecaster.domain.demand import DemandSeries, FloatArray, IntArray, TokenMix
from forecaster.planning.bounds import Bounds, bounds
from forecaster.planning.course import by_minute, course, due, worth
from forecaster.planning.layers import violation_price_s
from forecaster.planning.policy import CHURN_S, Policy
from forecaster.planning.price import verified_price_s
from forecaster.planning.risk import Grid, expected_outside_rps, tabulate
from forecaster.replay.scene import DAY_S, FINE_S, SLOT_S, TICK_S, Scene
from forecaster.seasonal.backtest import MIN_HISTORY_DAYS
from forecaster.seasonal.calibration import LEVELS
from forecaster.seasonal.live import LiveForecaster
from forecaster.seasonal.training import train

MEMBERS = ("pool",)
"""Who is trained anew at every midnight of the replay; the naives are always in."""
HORIZON_S = 4 * 3600.0
"""How far a tick plans: beyond it nothing changes what is ordered now."""
BUSY_ARRIVALS = 20
"""A slot that had more the day before is silent, not idle, when it has none."""
HIGH_LEVEL = 0.9
SEEN_MOST = 1.25
"""No plan is made for more than this many times the highest load seen: the guard is for that."""
SLOT_TICKS = round(SLOT_S / TICK_S)
"""Minutes between two plans."""


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
        B: ticks before the scored window, from which the first price is learnt.
    """

    levels: tuple[float, ...]
    load_erl: FloatArray
    before: int


def record(scene: Scene, members: Sequence[str] = MEMBERS) -> Tape:
    """Forecast at every planning tick from what lies before it; trained anew at every midnight."""
    scored = scene.first // SLOT_TICKS
    day = round(DAY_S / SLOT_S)
    before = max(min(scored - round(MIN_HISTORY_DAYS * day), 3 * day), 0)
    first, count = scored - before, scene.ticks // SLOT_TICKS + before
    slots = int((HORIZON_S + scene.lead_s) // SLOT_S) + 2
    load = scene.loads.fine_erl.reshape(-1, round(SLOT_S / FINE_S)).mean(axis=1)
    tape = np.empty((count, slots, len(LEVELS)))
    live: LiveForecaster | None = None
    for k in range(count):
        at = first + k
        if live is None or (scene.loads.start_s + at * SLOT_S) % DAY_S == 0:
            live = _trained(scene, scene.loads.known(at), members)
        tape[k] = live.forecast(slots, LEVELS, 0.0).arrival_rate_rps * SLOT_S
        live.advance(np.array([np.nan if _silent(scene, at) else load[at]]))
    return Tape(LEVELS, np.maximum(tape, 1e-9), before)


def _silent(scene: Scene, slot: int) -> bool:
    """Whether an empty slot was busy the day before: silence, as far as one knows by then."""
    per_slot = round(SLOT_S / FINE_S)
    yesterday = slot - round(DAY_S / SLOT_S)
    arrivals = scene.loads.arrivals
    if arrivals[slot * per_slot : (slot + 1) * per_slot].any() or yesterday < 0:
        return False
    return bool(arrivals[yesterday * per_slot : (yesterday + 1) * per_slot].sum() > BUSY_ARRIVALS)


def _trained(scene: Scene, load: FloatArray, members: Sequence[str]) -> LiveForecaster:
    nothing = np.zeros(load.size)
    series = DemandSeries(
        "replay", scene.loads.start_s, SLOT_S, load, nothing, nothing,
        TokenMix(0, 0, 0, 0, 0), 1.0,
    )  # fmt: skip
    verdict = train(series, scene.calendar, members)
    return LiveForecaster(verdict.calibrated, series, scene.calendar)


class Autopilot:
    """The plan function on a tape; the knob is a factor on the load that is planned for.

    Parameters
    ----------
    scene, tape
        The world, and the forecasts made in it.
    churn_s : float
        Unit-seconds that an order is thought to cost beside the warm-up.
    """

    def __init__(self, scene: Scene, tape: Tape, churn_s: float = CHURN_S) -> None:
        self.scene, self.churn_s = scene, churn_s
        seen = float(np.nanmax(scene.loads.slot_erl[: max(scene.first // SLOT_TICKS, 1)]))
        self._levels = tape.levels
        self.prices = scene.unit.step_prices(scene.table.split)
        self._rates = np.minimum(tape.load_erl, SEEN_MOST * seen) / scene.work_s
        most = int(scene.need(np.array([SEEN_MOST * seen]))[0])
        units = min(int(most * 1.2) + 4, scene.limits.max_units)
        low, high = float(self._rates.min()), float(self._rates.max())
        self._grid = tabulate(scene.table, low, high * 2, units)
        lead = min(scene.lead_ticks // SLOT_TICKS, self._rates.shape[1] - 1)
        foreseen = expected_outside_rps(self._rates[:, lead], self._levels, self._grid)[0]
        self.price_s = _prices(scene, self._grid, foreseen, tape.before)
        self._rates = self._rates[tape.before :]
        week = scene.loads.slot_erl[: scene.first // SLOT_TICKS][-7 * round(DAY_S / SLOT_S) :]
        self._policy = Policy(
            limits=scene.limits,
            elasticity=scene.elasticity,
            lead_time_s=scene.lead_s,
            churn_s=churn_s,
            min_billing_s=scene.unit.min_billing_s,
        )
        minutes = self._rates.shape[1] * SLOT_TICKS
        self._within = bounds(self._policy, scene.start_s + TICK_S * np.arange(minutes))
        self._peak = int(scene.need(np.array([np.nanmax(week, initial=0.0)]))[0])

    def units(self, knob: float) -> IntArray:
        """Ready and warming units after each tick."""
        outside = self.outside(knob, slice(None))
        present = self.start(outside[0])
        wanted = np.empty(self.price_s.size, np.int64)
        for k, ahead in enumerate(outside):
            held = self.held(k, present, by_minute(ahead, SLOT_TICKS))
            present = wanted[k] = self.due(held, present)
        return np.repeat(wanted, SLOT_TICKS)

    @property
    def ticks(self) -> int:
        """Planning ticks of the scored window."""
        return int(self.price_s.size)

    def came_erl(self, k: int) -> float:
        """Load of the slot that planning tick `k` began."""
        begin = self.scene.first + k * SLOT_TICKS
        return float(self.scene.loads.minute_erl[begin : begin + SLOT_TICKS].mean())

    def high_erl(self, k: int) -> FloatArray:
        """The load of the coming minutes that is exceeded one time in ten, erlangs."""
        at = int(np.searchsorted(self._levels, HIGH_LEVEL))
        at = min(at, len(self._levels) - 1)
        return by_minute(self._rates[k][:, at] * self.scene.work_s, SLOT_TICKS)

    def outside(self, factor: float, ticks: slice) -> FloatArray:
        """Expected requests/s outside, float64[ticks, slots, N + 1], at `factor` times the load."""
        rates = self._rates[ticks]
        flat = rates.reshape(-1, rates.shape[2]) * factor
        outside, _ = expected_outside_rps(flat, self._levels, self._grid)
        return outside.reshape(*rates.shape[:2], -1)

    def start(self, outside: FloatArray) -> int:
        """The fleet that is there when the window begins: what its first slot is worth."""
        limits = self.scene.limits
        units = int(worth(outside[:1], float(self.price_s[0]), limits.step_units, self.prices)[0])
        return min(max(units, limits.min_units), limits.max_units)

    def policy(self, k: int) -> Policy:
        """The rules at planning tick `k`."""
        return replace(self._policy, price_s=float(self.price_s[k]))

    def within(self, slots: int) -> Bounds:
        """Bounds of the coming minutes: a scene has no windows and no pins."""
        return self._within[:slots]

    def held(
        self, k: int, present: int, outside: FloatArray, within: Bounds | None = None
    ) -> IntArray:
        """Units to hold in the coming minutes, by planning tick `k`.

        Parameters
        ----------
        outside : float64[T, N + 1]
            Expected requests/s outside by minute.
        """
        inside = self.within(outside.shape[0]) if within is None else within
        policy = self.policy(k)
        return course(outside, policy, present, self._peak, inside, prices=self.prices)[1]

    def due(self, held: IntArray, present: int) -> int:
        """The fleet after an order of now."""
        return due(held, self.scene.lead_ticks, SLOT_TICKS, present)


def _prices(scene: Scene, grid: Grid, foreseen: FloatArray, first: int) -> FloatArray:
    """Price at each scored tick: the one at which the plans of the days before each spent its budget.

    Known before each scored day begins. Without a verified day the first one is priced by the
    forecasts alone, as if they had come true.

    Parameters
    ----------
    foreseen : float64[B + K, N + 1]
        Expected requests/s outside one lead after each planning tick.
    first : int
        B, ticks before the scored window.
    """
    share = 1 - scene.table.question.slo.attainment
    step, prices = scene.limits.step_units, scene.unit.step_prices(scene.table.split)
    begin_tick = scene.first - first * SLOT_TICKS + scene.lead_ticks
    at = begin_tick + np.arange(foreseen.shape[0]) * SLOT_TICKS
    at = np.minimum(at, scene.loads.minute_erl.size - SLOT_TICKS)
    load = scene.loads.minute_erl[at[:, None] + np.arange(SLOT_TICKS)].mean(axis=1)
    rate = load / scene.work_s
    happened = grid.at(rate)
    hidden = -(-scene.lead_ticks // SLOT_TICKS) + 1  # forecasts whose target has not come yet
    day = round(DAY_S / SLOT_S)
    price = np.empty(foreseen.shape[0] - first)
    for begin in range(first, foreseen.shape[0], day):
        until = max(begin - hidden, 0)
        known = foreseen[:until], happened[:until], rate[:until]
        found = verified_price_s(*known, share, day, step, prices)
        if not np.isfinite(found):
            ahead = foreseen[begin : begin + 1]
            found = violation_price_s(ahead, ahead, ahead[:, 0], share, step, prices)
        price[begin - first : begin - first + day] = found
    return price


__all__ = ["HORIZON_S", "MEMBERS", "SLOT_TICKS", "Autopilot", "Tape", "record"]
