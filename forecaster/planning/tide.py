"""The tide table: load to need, need to hold, each slot with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from forecaster.capacity.sizing import Question, binding_part, capacity_table
from forecaster.domain.demand import SLOT_S, FloatArray
from forecaster.domain.forecast import QuantileForecast
from forecaster.domain.plan import Binding, Reason, SlotPlan, TideTable
from forecaster.domain.service import Limits
from forecaster.planning.policy import Policy

UnitArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Ladder:
    """What each number of units carries, and what binds one below it.

    Attributes
    ----------
    capacity_rps : float64[max_units]
        Rate that 1..max_units units carry inside the SLO.
    binding : tuple of Binding
        The part that binds at each number of units.
    work_s : float
        Mean work of one request, seconds of a busy unit.
    """

    capacity_rps: FloatArray
    binding: tuple[Binding, ...]
    work_s: float

    def need(self, rate_rps: FloatArray) -> UnitArray:
        """Fewest units per rate, int64; one more than the ladder has when it is too short."""
        return np.searchsorted(self.capacity_rps, rate_rps * (1 - 1e-9)) + 1


@lru_cache(maxsize=1024)
def ladder(question: Question, max_units: int, work_s: float) -> Ladder:
    """Build the ladder of 1..`max_units` units.

    Raises
    ------
    SloInfeasibleError
        When no number of units keeps the SLO.
    """
    rates = capacity_table(question, max_units)
    # just above what k - 1 units carry, k are needed: what breaks there is what binds k
    binding = [Binding.NONE]
    binding += [
        binding_part(question, float(rates[k - 1]) * 1.01, k + 1) for k in range(1, max_units)
    ]
    return Ladder(rates, tuple(binding), work_s)


def rounded(question: Question) -> Question:
    """The question with its moments rounded to two digits, so that equal ones share a ladder.

    Rounds up: a coarser mix is never lighter.
    """
    mix = question.mix
    moments = {name: _up(getattr(mix, name)) for name in mix.__dataclass_fields__}
    return replace(
        question, mix=replace(mix, **moments), dispersion=max(_up(question.dispersion), 0.1)
    )


def _up(value: float) -> float:
    if value <= 0 or not math.isfinite(value):
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit - 1e-9) * unit


def tide_table(
    forecast: QuantileForecast,
    steps: Ladder,
    policy: Policy,
    present_units: int,
    data_until_s: float | None = None,
) -> TideTable:
    """Plan every slot of the forecast's horizon.

    Parameters
    ----------
    forecast : QuantileForecast
        Quantiles of the coming load on its own grid, a week long where elasticity is below 1;
        interpolated to the planning grid.
    steps : Ladder
        Capacity of each number of units.
    policy : Policy
        Limits, elasticity, lead.
    present_units : int
        Units ready or warming now: where the plan starts.
    data_until_s : float or None
        End of the last measured slot; None: the forecast's start.
    """
    start_s, rates = planning_grid(forecast, policy.level)
    everything, _ = _limited(steps.need(rates / policy.believed), policy.limits)
    peak = int(everything.max())
    rates = rates[: max(int(policy.horizon_s // SLOT_S), 1)]
    raw = steps.need(rates / policy.believed)
    need, reasons = _limited(raw, policy.limits)
    held, reasons = _elastic(need, peak, reasons, policy)
    hold, reasons = _no_early_scale_in(held, reasons, policy, present_units)
    slots = tuple(
        SlotPlan(
            start_s=start_s + SLOT_S * i,
            arrival_rate_rps=float(rates[i]),
            offered_load_erl=float(rates[i] * steps.work_s),
            need_units=int(raw[i]),
            hold_units=int(hold[i]),
            reason=reasons[i],
            binding=steps.binding[min(int(raw[i]), len(steps.binding)) - 1],
        )
        for i in range(rates.size)
    )
    return TideTable(
        service=forecast.service,
        made_s=forecast.made_s,
        slot_s=SLOT_S,
        lead_time_s=policy.lead_time_s,
        data_until_s=forecast.start_s if data_until_s is None else data_until_s,
        peak_units=peak,
        slots=slots,
    )


def planning_grid(forecast: QuantileForecast, level: float) -> tuple[float, FloatArray]:
    """Rate at `level` on the 60 s grid, linear between the middles of the forecast's slots."""
    rate = forecast.at_level(level)
    middles = forecast.start_s + forecast.slot_s * (np.arange(rate.size) + 0.5)
    start_s = math.floor(forecast.start_s / SLOT_S) * SLOT_S
    count = int(rate.size * forecast.slot_s // SLOT_S)
    grid = start_s + SLOT_S * (np.arange(count) + 0.5)
    return float(start_s), np.interp(grid, middles, rate)


def _limited(need: UnitArray, limits: Limits) -> tuple[UnitArray, list[Reason]]:
    step = limits.step_units
    stepped = -(-need // step) * step
    hold = np.clip(stepped, limits.min_units, limits.max_units)
    reasons = [Reason.LOAD] * need.size
    for i, (raw, up, kept) in enumerate(zip(need, stepped, hold, strict=True)):
        if kept < up:
            reasons[i] = Reason.MAX_UNITS
        elif kept > up:
            reasons[i] = Reason.MIN_UNITS
        elif up > raw:
            reasons[i] = Reason.STEP
    return hold, reasons


def _elastic(
    need: UnitArray, peak: int, reasons: list[Reason], policy: Policy
) -> tuple[UnitArray, list[Reason]]:
    """hold = need + (1 - e) (peak - need), rounded up to the purchase step (design, section 1)."""
    step = policy.limits.step_units
    wanted = need + (1.0 - policy.elasticity) * (peak - need)
    hold = np.minimum(
        np.ceil(wanted / step - 1e-9).astype(np.int64) * step, policy.limits.max_units
    )
    hold = np.maximum(hold, need)
    changed = [
        Reason.ELASTICITY if kept > n else reason
        for kept, n, reason in zip(hold, need, reasons, strict=True)
    ]
    return hold, changed


def _no_early_scale_in(
    hold: UnitArray, reasons: list[Reason], policy: Policy, present_units: int
) -> tuple[UnitArray, list[Reason]]:
    """Give a unit back only when the coming lead and drain window does not need it again."""
    window = max(math.ceil(policy.window_s / SLOT_S), 1)
    ahead = _max_ahead(hold, window)
    kept = np.empty_like(hold)
    before = min(present_units, policy.limits.max_units)
    out = list(reasons)
    for i in range(hold.size):
        kept[i] = max(int(hold[i]), min(before, int(ahead[i])))
        if kept[i] > hold[i]:
            out[i] = Reason.COMING_LOAD
        before = int(kept[i])
    return kept, out


def _max_ahead(values: UnitArray, window: int) -> UnitArray:
    """Largest value in each slot and the `window` after it.

    Examples
    --------
    >>> _max_ahead(np.array([1, 3, 2, 1, 1]), 1)
    array([3, 3, 2, 1, 1])
    """
    padded = np.concatenate([values, np.full(window, values[-1])])
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, window + 1).max(axis=1))
