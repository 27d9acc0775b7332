"""Tidegate in the replay: what the daemon would have known, forecast, planned and ordered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecaster.domain.demand import DemandSeries, FloatArray, IntArray, TokenMix
from forecaster.domain.errors import TooLittleHistoryError
from forecaster.planning.layers import Costs, schedule, violation_price_s
from forecaster.planning.risk import Grid, expected_outside_rps, tabulate
from forecaster.replay.scene import DAY_S, SLOT_S, TICK_S, Scene
from forecaster.seasonal.calibration import LEVELS
from forecaster.seasonal.live import LiveForecaster
from forecaster.seasonal.training import train

MEMBERS = ("profile", "ridge", "holt-winters")
"""Quick members: retrained every day of the replay."""
HORIZON_S = 4 * 3600.0
"""How far a tick plans: beyond it nothing changes what is ordered now."""
_SLOT_TICKS = round(SLOT_S / TICK_S)


@dataclass(frozen=True)
class Tape:
    """Every forecast that would have been made in the scored window.

    Attributes
    ----------
    levels : tuple of float
        Quantile levels.
    load_erl : float64[K, H, Q]
        At planning tick k (every five minutes): quantiles of the load of the coming H slots.
    """

    levels: tuple[float, ...]
    load_erl: FloatArray


def record(scene: Scene, members: Sequence[str] = MEMBERS) -> Tape:
    """Forecast at every planning tick from what lies before it; trained anew at every midnight."""
    first, count = scene.first // _SLOT_TICKS, scene.ticks // _SLOT_TICKS
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
    return Tape(LEVELS, np.maximum(tape, 1e-9))


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
    """The plan function on a tape; the knob is what a violation is worth.

    Attributes
    ----------
    outside_rps : float64[K, M, N + 1]
        At each planning tick: expected requests/s outside in each coming minute with 0..N units.
    price_s : float
        Unit-seconds a violation is worth, so that the first day's plan spends its error budget.
    """

    scene: Scene
    outside_rps: FloatArray
    price_s: float
    churn_s: float

    @classmethod
    def prepare(cls, scene: Scene, tape: Tape, churn_s: float) -> Autopilot:
        """Put the forecasts through the capacity curve once; knobs come later."""
        rates = tape.load_erl / scene.work_s
        most = float(scene.need(scene.actual_erl).max())
        units = min(int(most * 2) + 4, scene.limits.max_units)
        grid = tabulate(scene.table, rates.min(), rates.max() * 2, units)
        minutes = np.stack([_minutes(each, tape.levels, grid) for each in rates])
        lead = min(scene.lead_ticks, minutes.shape[1] - 1)
        ahead = minutes[:, lead]
        rate = np.array([_mean_rate(each[lead // _SLOT_TICKS], tape.levels) for each in rates])
        price = violation_price_s(ahead, rate, TICK_S, 1 - scene.table.question.slo.attainment)
        return cls(scene, minutes, price, churn_s)

    def units(self, knob: float) -> IntArray:
        """Ready and warming units after each tick."""
        scene = self.scene
        costs = Costs(
            slot_s=TICK_S,
            start_s=scene.lead_s + self.churn_s,
            stop_s=self.churn_s,
            violation_s=self.price_s * knob,
            lead_slots=scene.lead_ticks,
        )
        limits = scene.limits
        wanted = np.empty(self.outside_rps.shape[0], np.int64)
        present = 0
        for k, outside in enumerate(self.outside_rps):
            if k == 0:
                start = Costs(TICK_S, 0.0, 0.0, costs.violation_s)
                present = int(schedule(outside[:1], start, 0, least=limits.min_units)[0])
            plan = schedule(
                outside, costs, present, step=limits.step_units,
                least=limits.min_units, most=limits.max_units,
            )  # fmt: skip
            present = _order(plan, scene.lead_ticks, present)
            wanted[k] = present
        return np.repeat(wanted, _SLOT_TICKS)


def _order(plan: IntArray, lead: int, present: int) -> int:
    """What the fleet is to be after this order: what must be there when an order now is ready."""
    until = min(lead + _SLOT_TICKS, plan.size)
    rising = int(plan[lead:until].max())
    if rising > present:
        return rising
    return min(int(plan[:until].max()), present)


def _minutes(rates: FloatArray, levels: tuple[float, ...], grid: Grid) -> FloatArray:
    """Expected requests/s outside in each minute: quantiles linear between the slots' middles."""
    slots = rates.shape[0]
    middles = (np.arange(slots) + 0.5) * _SLOT_TICKS
    at = np.arange((slots - 1) * _SLOT_TICKS) + 0.5
    logs = np.log(rates)
    fine = np.stack([np.interp(at, middles, logs[:, q]) for q in range(logs.shape[1])], axis=1)
    outside, _ = expected_outside_rps(np.exp(fine), levels, grid)
    return outside


def _mean_rate(quantiles: FloatArray, levels: tuple[float, ...]) -> float:
    return float(np.interp(0.5, levels, quantiles))


__all__ = ["HORIZON_S", "MEMBERS", "Autopilot", "Tape", "TooLittleHistoryError", "record"]
