"""Matched attainment: every policy's knob is set to the least that keeps the target."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from forecaster.domain.demand import FloatArray, IntArray
from forecaster.planning.layers import step_costs
from forecaster.replay.scene import Scene, Sight
from forecaster.replay.scorecard import Score
from forecaster.replay.timeline import Timeline

TOLERANCE = 0.03
"""A policy may keep the target with this share of the error budget unspent."""
_CLOSE = 1.004
"""Two knobs this close are one."""
_JUDGED_MOST = 9
_STEP = 1.03
_FAR = 1.2
"""The table is corrected by a factor of exp(1.2) at most each time."""
HOPELESS = 6.0
"""A fleet with this many times the allowed share outside is not played to the end."""
_BISECTIONS = 12


@dataclass(frozen=True)
class Matched:
    """A policy at its matched knob.

    Attributes
    ----------
    knob : float
        The least one found that keeps the target; the safest one there is when none does.
    reached : bool
        Whether the target was kept.
    judged : int
        Kernel runs that this took.
    """

    knob: float
    fleet: Timeline
    score: Score
    reached: bool
    judged: int


def foreseen_share(scene: Sight, fleet: Timeline, minute_requests: FloatArray) -> float:
    """Share of the requests outside the SLO by the sizing table, minute by minute: the quick judge."""
    rate = scene.actual_erl / scene.work_s
    share = np.zeros(rate.size)
    for units in np.unique(fleet.ready):
        at = fleet.ready == units
        share[at] = scene.table.violation_share(int(units), rate[at])
    total = float(minute_requests.sum())
    return float((share * minute_requests).sum() / total) if total else 0.0


def match(
    units: Callable[[float], IntArray],
    knobs: tuple[float, float],
    scene: Sight,
    minute_requests: FloatArray,
    judge: Callable[[Timeline], Score],
    tolerance: float = TOLERANCE,
    attainment: float | None = None,
) -> Matched:
    """Find the least knob whose schedule keeps the target in the kernel.

    The table foresees where that is, corrected by what the kernel says of its last guess; once the
    kernel's verdicts bracket the answer they are interpolated. A wrong table costs runs, not truth.

    Parameters
    ----------
    units : callable
        Knob → ready and warming units after each tick.
    knobs : (float, float)
        Range of the knob; larger is safer.
    tolerance : float
        Share of the error budget that may be left unspent.
    judge : callable
        The kernel's verdict on a fleet.
    attainment : float or None
        Target; None: the SLO's.
    """
    allowed = 1 - (scene.table.question.slo.attainment if attainment is None else attainment)
    wanted = math.log(allowed * (1 - tolerance / 2))
    aimed = math.log(allowed)
    missed: tuple[float, float] | None = None  # (log knob, log share outside), the target not kept
    kept: tuple[float, float] | None = None
    best: tuple[float, Timeline, Score] | None = None
    knob = foreseen_knob(units, scene, minute_requests, *knobs, allowed)
    for judged in range(1, _JUDGED_MOST + 1):
        fleet = scene.carried_out(units(knob))
        score = judge(fleet)
        outside = 1 - score.attainment
        found = (math.log(knob), math.log(max(outside, allowed / 50)))
        if outside <= allowed:
            best, kept = (knob, fleet, score), found
            if outside >= allowed * (1 - tolerance) or knob <= knobs[0] * _CLOSE:
                break
        else:
            missed = found
            if knob >= knobs[1] / _CLOSE:
                return Matched(knob, fleet, score, False, judged)
        if missed is not None and kept is not None:
            if kept[0] - missed[0] < math.log(_CLOSE):
                break
            knob = math.exp(_between(missed, kept, wanted))
            continue
        aimed += min(max(wanted - found[1], -_FAR), _FAR)
        low = knobs[0] if missed is None else math.exp(missed[0])
        high = knobs[1] if kept is None else math.exp(kept[0])
        share = min(math.exp(aimed), 0.99)
        guess = foreseen_knob(units, scene, minute_requests, low, high, share)
        # the table may not see what the kernel does: go on at least this far
        knob = (
            min(max(guess, knob * _STEP), knobs[1])
            if kept is None
            else max(min(guess, knob / _STEP), knobs[0])
        )
    if best is not None:
        return Matched(*best, True, judged)
    fleet = scene.carried_out(units(knobs[1]))
    score = judge(fleet)
    return Matched(knobs[1], fleet, score, 1 - score.attainment <= allowed, judged + 1)


def _between(missed: tuple[float, float], kept: tuple[float, float], wanted: float) -> float:
    """Log knob where the share outside is wanted, linear between two verdicts, well inside them."""
    width = kept[0] - missed[0]
    drop = missed[1] - kept[1]
    part = (missed[1] - wanted) / drop if drop > 0 else 0.5
    return missed[0] + width * min(max(part, 0.15), 0.85)


def foreseen_knob(
    units: Callable[[float], IntArray],
    scene: Sight,
    minute_requests: FloatArray,
    low: float,
    high: float,
    share: float,
) -> float:
    """The least knob at which the table foresees `share` outside."""
    for _ in range(_BISECTIONS):
        if high / low < _CLOSE:
            break
        middle = math.sqrt(low * high)
        fleet = scene.carried_out(units(middle))
        if foreseen_share(scene, fleet, minute_requests) <= share:
            high = middle
        else:
            low = middle
    return high


def foreseen(
    units: Callable[[float], IntArray],
    knobs: tuple[float, float],
    scene: Sight,
    minute_requests: FloatArray,
) -> Timeline:
    """The fleet at the least knob that keeps the target by the table alone: for comparing settings."""
    share = 1 - scene.table.question.slo.attainment
    knob = foreseen_knob(units, scene, minute_requests, *knobs, share)
    return scene.carried_out(units(knob))


def unit_seconds(fleet: Timeline, score: Score) -> float:
    """Unit-seconds ready, warming and draining."""
    return fleet.ready_s + fleet.warming_s + score.draining_s


def money(scene: Scene, fleet: Timeline, score: Score) -> float:
    """Price of those, each unit at that of its step of the ladder; draining ones at the mean."""
    unit = scene.unit
    prices = unit.step_prices(scene.table.split)
    hours = unit_seconds(fleet, score) / 3600
    if prices is None:
        return hours * unit.price_per_hour
    most = int(max(fleet.ready.max(initial=0), fleet.wanted.max(initial=0)))
    upto = np.concatenate([[0.0], np.cumsum(step_costs(prices, most))])
    ready_s = float(upto[fleet.ready].sum()) * fleet.tick_s
    warming_s = float((upto[fleet.wanted] - upto[fleet.ready]).sum()) * fleet.tick_s
    draining_s = score.draining_s * ready_s / max(fleet.ready_s, fleet.tick_s)
    return (ready_s + max(warming_s, 0.0) + draining_s) / 3600 * unit.price_per_hour
