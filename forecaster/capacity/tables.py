"""Sizing tables built on the kernel: trials where the curve turns, smoothed over neighbouring fleets.

A curve says what share of requests a fleet leaves outside the SLO at a load. The formula says where
to begin; from there trials go where the curve is not known yet (`curve.placed`). Fleets of one unit
type differ slowly, so the errors of single trials are averaged over neighbouring ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from forecaster.capacity import sizing
from forecaster.capacity.breaking import first_broken
from forecaster.capacity.curve import LEVELS, STEADY_BELOW, Curve, curve, explored
from forecaster.capacity.sizing import Question, check_feasible
from forecaster.capacity.sizing_table import FLEETS, SizingTable, corrected
from forecaster.capacity.smoothing import smoothed
from forecaster.capacity.traffic import Lengths, Traffic, check_lengths
from forecaster.capacity.trial import (
    Player,
    Trial,
    fused,
    idle,
    overload,
    saturation_rps,
    steady,
)
from forecaster.domain.demand import FloatArray, IntArray
from forecaster.domain.errors import ModelError, SettingError, SloInfeasibleError, TidegateError
from forecaster.domain.plan import Binding

__all__ = ["SizingTable", "build_table", "corrected"]

STEADY_S = 660.0
"""Simulated time of one trial at least."""
STEADY_LEAST, STEADY_MOST = 100_000, 250_000
"""Requests of one trial."""
NEAR_FULL, NEAR_FULL_TIMES = 0.95, 2
"""Above this share of the saturation queues change slowly: trials are longer."""
OVERLOADS = (1.0, 1.03, 1.1, 1.4)
"""Overloads tried, over the saturation."""
OVERLOAD_LEAST, OVERLOAD_MOST = 8_000, 60_000
"""Requests of one overload: larger fleets share the overloads of the largest that stays below."""
GUESSES = np.array([1e-3, 0.006, 0.02, 0.08, 0.25, 0.6])
"""Shares at which the fleet before says where to begin."""
SCOUTING = 30_000
"""Requests of a trial that only looks for the turn."""
MANY = 8
"""From this fleet on its predecessor's curve is near enough."""
RELATIVE = np.concatenate([np.linspace(0, 0.6, 13)[:-1], np.linspace(0.6, 1.1, 51), [1.2, 1.4]])
"""Loads over the saturation at which percentiles are kept."""
QUIET = 0.5
"""A load well below the turn, over the one at it: percentiles of a quiet fleet."""


def unit_grid(max_units: int) -> IntArray:
    """Fleets that are simulated for a table of `max_units`, int64.

    Examples
    --------
    >>> unit_grid(10).tolist()
    [1, 2, 3, 5, 8, 10]
    """
    return np.array(
        sorted({*(each for each in FLEETS if each < max_units), min(max_units, FLEETS[-1])})
    )


@dataclass(frozen=True, slots=True)
class _Fleet:
    """Trials of one fleet and the curve through them."""

    curve: Curve
    trials: list[Trial]


def build_table(
    question: Question,
    max_units: int,
    lengths: Lengths | None = None,
    progress: Callable[[float], None] | None = None,
) -> SizingTable:
    """Build the table of 1..`max_units` units.

    Parameters
    ----------
    question : Question
        Unit type, SLO, mix and dispersion.
    max_units : int
        Largest fleet, >= 1.
    lengths : (int64[n], int64[n]) or None
        Prompt and output tokens of real requests, drawn with replacement; None: correlated
        lognormals with the moments of the mix.
    progress : callable or None
        Told the share that is done, 0..1.

    Raises
    ------
    SloInfeasibleError
        When an idle unit already breaks the SLO.
    SettingError
        When the SLO is empty or `max_units` below 1.
    DataError
        When `lengths` cannot be token lengths.
    """
    if max_units < 1:
        raise SettingError("max_units", max_units, "1 or more units")
    if lengths is None:
        check_feasible(question)
    else:
        check_lengths(lengths)
        sizing.check_slo(question.slo, question.unit.profile)
    return measured(question, fused(question.unit.profile), max_units, lengths, progress)


def measured(
    question: Question,
    play: Player,
    max_units: int,
    lengths: Lengths | None,
    progress: Callable[[float], None] | None,
) -> SizingTable:
    """Build the table of units that play requests in their own way; see `build_table`."""
    slo = question.slo
    one = Traffic(question, lengths, 1)
    alone = _idle(question, play, one)
    most_rps = saturation_rps(play, question.unit.profile, one)
    if most_rps <= 0:
        raise ModelError(
            "no request of this mix fits one unit", "use a unit with a larger KV cache"
        )
    grid = unit_grid(max_units)
    fleets: list[_Fleet] = []
    over: list[Trial] = []
    for i, units in enumerate(grid):
        fleet = int(units)
        traffic = one if fleet == 1 else Traffic(question, lengths, fleet)
        count = int(np.clip(STEADY_S * most_rps * fleet, STEADY_LEAST, STEADY_MOST))

        def trial(rate: float, count: int = count, traffic: Traffic = traffic, fleet: int = fleet) -> Trial:  # fmt: skip
            longer = NEAR_FULL_TIMES if rate > NEAR_FULL * most_rps else 1
            return steady(play, slo, traffic, fleet, rate, min(longer * count, STEADY_MOST))

        limit = STEADY_BELOW * most_rps
        if fleets:
            guesses = _turn(fleets[-1].curve)[: -1 if fleet >= MANY else None]
        else:
            scouts = explored(partial(trial, count=SCOUTING), _formula(question, most_rps), limit)
            guesses = _turn(curve(scouts, [], alone.share, most_rps))
        tried = explored(trial, guesses, limit, 3 if fleet < MANY else 1)
        if not over or fleet * most_rps * STEADY_S <= OVERLOAD_MOST:
            over = [_overload(question, play, traffic, fleet, tried, factor * most_rps) for factor in OVERLOADS]  # fmt: skip
        quiet = steady(play, slo, traffic, fleet, QUIET * tried[0].rate_per_unit_rps, count // 10)
        fleets.append(
            _Fleet(curve(tried, over, alone.share, most_rps), [alone, quiet, *tried, *over])
        )
        if progress is not None:
            progress((i + 1) / grid.size)
    return _table(question, max_units, grid, fleets, most_rps)


def _idle(question: Question, play: Player, traffic: Traffic) -> Trial:
    """Judge an idle unit: what it breaks, no fleet keeps."""
    slo = question.slo
    done, alone = idle(play, slo, traffic)
    allowed = 1 - slo.attainment
    if alone.share <= allowed:
        return alone
    part = int(np.argmax(alone.parts))
    key = ("ttft_p99_s", "tpot_p99_s", "latency_p99_s")[part]
    values = (done.ttft_s, done.tpot_s, done.latency_s)[part]
    left = max(allowed - (alone.share - alone.parts[part]), 0.0)
    if (done.status != 0).mean() > allowed:
        raise ModelError(
            f"{(done.status != 0).mean():.1%} of the requests are larger than the KV cache of one unit",
            "use a unit with a larger one or a lower target",
        )
    best = float(np.quantile(values[np.isfinite(values)], 1 - left))
    raise SloInfeasibleError(key, float(getattr(slo, key)), best)


def _turn(known: Curve) -> FloatArray:
    """Loads per unit at which a curve turns."""
    return np.asarray(np.interp(GUESSES, LEVELS, known.rate_per_unit_rps))


def _formula(question: Question, most_rps: float) -> FloatArray:
    """Loads of one unit around the one where the formula says that it turns."""
    try:
        at = sizing.capacity_rps(replace(question, slo=replace(question.slo, attainment=0.99)), 1)
    except TidegateError:
        at = 0.0
    at = at if 0.02 * most_rps < at < most_rps else 0.7 * most_rps
    return at * np.array([0.92, 1.0, 1.06])


def _overload(
    question: Question, play: Player, traffic: Traffic, units: int, tried: list[Trial], rate: float
) -> Trial:
    carried = next((t for t in reversed(tried) if t.share <= 0.02), tried[0]).rate_per_unit_rps
    one = rate * units * STEADY_S
    windows = max(int(OVERLOAD_LEAST / one), 1)
    return overload(play, question.slo, traffic, units, (carried, rate), windows)


def _table(
    question: Question, max_units: int, grid: IntArray, fleets: list[_Fleet], most_rps: float
) -> SizingTable:
    rates = smoothed(grid, [each.curve for each in fleets])
    at = RELATIVE * most_rps
    parts = np.zeros((grid.size, at.size, 3))
    times_s = np.zeros((grid.size, at.size, 3, 2))
    for i, fleet in enumerate(fleets):
        x = np.array([each.rate_per_unit_rps for each in fleet.trials])
        order = np.argsort(x, kind="stable")
        for part in range(3):
            column = np.array([each.parts[part] for each in fleet.trials])[order]
            parts[i, :, part] = np.interp(at, x[order], np.maximum.accumulate(column))
            for level in range(2):
                column = np.array([each.times_s[part, level] for each in fleet.trials])[order]
                times_s[i, :, part, level] = np.exp(np.interp(at, x[order], np.log(column)))
    table = SizingTable(
        question, grid, rates, np.broadcast_to(LEVELS, rates.shape).copy(), max_units, most_rps,
        at, parts, times_s, (Binding.NONE,) * grid.size,
    )  # fmt: skip
    return replace(table, bindings=tuple(_binding(table, int(units)) for units in grid))


def _binding(table: SizingTable, units: int) -> Binding:
    rate = table.above_rps(units)
    allowed = 1 - table.question.slo.attainment
    return first_broken(table.question, units, rate, table.parts_at(units, rate), allowed)
