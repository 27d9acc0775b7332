"""What the tier would have taught before the scored window: measured over predicted capacity.

A table is sized on one mean mix of tokens; traffic whose mix wanders carries more or less per unit
of work. The days before the scored window are played on a fleet that follows their known load, and
the factor with which the table keeps the target there is the correction that a live daemon learns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from forecaster.capacity.tables import corrected
from forecaster.domain.demand import FloatArray
from forecaster.replay import rules
from forecaster.replay.match import match
from forecaster.replay.scene import DAY_S, FINE_S, TICK_S, Scene
from forecaster.replay.scorecard import Score
from forecaster.replay.timeline import Timeline

DAYS = 2.0
LEAST_DAYS = 0.5
TOLERANCE = 0.2
"""Share of the error budget that may be left: capacity is then known to about 2 %."""
KNOBS = (0.5, 2.0)
"""A table further off than this is not believed to be, on two days' evidence."""

Judge = Callable[[Scene, Timeline], Score]


def requests_per_minute(scene: Scene) -> FloatArray:
    """Requests of each scored minute, float64[ticks]."""
    per_tick = round(TICK_S / FINE_S)
    at = slice(scene.first * per_tick, (scene.first + scene.ticks) * per_tick)
    return np.asarray(scene.loads.arrivals[at].reshape(-1, per_tick).sum(axis=1))


def learnt(scene: Scene, judge: Judge) -> Scene:
    """Return the scene with its table corrected by the days before it; as it is when those are few.

    Parameters
    ----------
    judge : callable
        (scene of the days before, fleet) → the kernel's verdict.
    """
    day = round(DAY_S / TICK_S)
    ticks = min(round(DAYS * day), scene.first // 2) // 30 * 30
    if ticks < LEAST_DAYS * day:
        return scene
    past = replace(scene, first=scene.first - ticks, ticks=ticks)
    minute_requests = requests_per_minute(past)
    if not minute_requests.any():
        return scene
    found = match(
        partial(rules.clairvoyant, past), KNOBS, past, minute_requests, partial(judge, past),
        tolerance=TOLERANCE,
    )  # fmt: skip
    return (
        replace(scene, table=corrected(scene.table, 1.0 / found.knob)) if found.reached else scene
    )
