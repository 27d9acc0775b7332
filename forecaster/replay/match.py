"""Matched attainment: every policy's knob is set to the least that keeps the target."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from forecaster.domain.demand import FloatArray, IntArray
from forecaster.replay.scene import TICK_S, Scene
from forecaster.replay.scorecard import Score
from forecaster.replay.timeline import Timeline, timeline

TOLERANCE = 0.03
"""A policy may keep the target with this share of the error budget unspent."""
_CLOSE = 1.002
"""Two knobs this close are one."""
_JUDGED_MOST = 8
_FAR = 1.2
"""The table is corrected by a factor of exp(1.2) at most each time."""
HOPELESS = 6.0
"""A fleet with this many times the allowed share outside is not played to the end."""
_BISECTIONS = 16


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


def foreseen_share(scene: Scene, fleet: Timeline, minute_requests: FloatArray) -> float:
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
    scene: Scene,
    minute_requests: FloatArray,
    judge: Callable[[Timeline], Score],
    tolerance: float = TOLERANCE,
) -> Matched:
    """Find the least knob whose schedule keeps the target in the kernel.

    The table foresees where that is; the kernel judges; the difference corrects what the table is
    asked next. Kernel verdicts bracket the answer, so a wrong table costs runs and not truth.

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
    """
    allowed = 1 - scene.table.question.slo.attainment
    low, high = knobs
    aimed = math.log(allowed)
    best: tuple[float, Timeline, Score] | None = None
    judged = 0
    knob = _foreseen(units, scene, minute_requests, low, high, allowed)
    while True:
        fleet = timeline(units(knob), scene.start_s, TICK_S, scene.lead_s)
        score = judge(fleet)
        judged += 1
        outside = 1 - score.attainment
        if outside <= allowed:
            best, high = (knob, fleet, score), knob
            if outside >= allowed * (1 - tolerance):
                break
        else:
            low = knob
            if knob >= knobs[1]:
                return Matched(knob, fleet, score, False, judged)
        if judged >= _JUDGED_MOST or high / low < _CLOSE:
            break
        missed = math.log(allowed * (1 - tolerance / 2)) - math.log(max(outside, allowed / 20))
        aimed += min(max(missed, -_FAR), _FAR)
        wanted = min(math.exp(aimed), 0.99)
        knob = _foreseen(units, scene, minute_requests, low, high, wanted)
        if not low * math.sqrt(_CLOSE) < knob < high / math.sqrt(_CLOSE):
            knob = math.sqrt(low * high)
    if best is None:
        fleet = timeline(units(high), scene.start_s, TICK_S, scene.lead_s)
        score = judge(fleet)
        return Matched(high, fleet, score, 1 - score.attainment <= allowed, judged + 1)
    return Matched(*best, True, judged)


def _foreseen(
    units: Callable[[float], IntArray],
    scene: Scene,
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
        fleet = timeline(units(middle), scene.start_s, TICK_S, scene.lead_s)
        if foreseen_share(scene, fleet, minute_requests) <= share:
            high = middle
        else:
            low = middle
    return high


def foreseen(
    units: Callable[[float], IntArray],
    knobs: tuple[float, float],
    scene: Scene,
    minute_requests: FloatArray,
) -> Timeline:
    """The fleet at the least knob that keeps the target by the table alone: for comparing settings."""
    share = 1 - scene.table.question.slo.attainment
    knob = _foreseen(units, scene, minute_requests, *knobs, share)
    return timeline(units(knob), scene.start_s, TICK_S, scene.lead_s)


def unit_seconds(fleet: Timeline, score: Score) -> float:
    """Unit-seconds ready, warming and draining."""
    return fleet.ready_s + fleet.warming_s + score.draining_s
