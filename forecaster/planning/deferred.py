"""Batch work in the trough: done by units that are held anyway, and by more of them only if it must.

What waits and has a deadline is served earliest deadline first, which meets every deadline that can be
met on one server (C. Liu, J. Layland, "Scheduling algorithms for multiprogramming in a hard-real-time
environment", JACM 20, 1973). Where the spare capacity of the plan before a deadline does not suffice,
units are kept or started, as late as possible: until then the tide may turn out lower than was thought.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from forecaster.domain.deferred import Backlog
from forecaster.domain.demand import SLOT_S, FloatArray, IntArray

FILL = 0.95
"""Share of what units carry inside the SLO up to which batch work fills them: beyond it interactive
requests, which come at random, would wait behind it."""
TRUST = 0.7
"""Share of the spare capacity of a plan that is counted on before a deadline."""


def spare_erl(carried_erl: FloatArray, load_erl: FloatArray) -> FloatArray:
    """Busy units' worth of batch work that fits beside the interactive load, float64[T].

    Parameters
    ----------
    carried_erl : float64[T]
        Load that the units of each slot carry inside the SLO.
    load_erl : float64[T]
        A high quantile of the interactive load.

    Examples
    --------
    >>> spare_erl(np.array([5.0, 5.0]), np.array([1.0, 4.5])).tolist()
    [3.75, 0.25]
    """
    return np.maximum(FILL * carried_erl - load_erl, 0.0)


def extra_units(
    backlog: Sequence[Backlog], spare: FloatArray, start_s: float, unit_erl: float, room: IntArray
) -> IntArray:
    """Units to hold on top of a plan so that the backlog is done by its deadlines, int64[T].

    Parameters
    ----------
    backlog : sequence of Backlog
        Any order; what is due after the last slot is not looked at.
    spare : float64[T]
        Busy units' worth of batch work that the plan has room for in each slot.
    start_s : float
        First slot, epoch seconds.
    unit_erl : float
        Batch work that one more unit takes in, busy seconds a second.
    room : int64[T]
        Units at most.

    Examples
    --------
    Half an hour of work, due in an hour, and no spare: the last half hour gets one more unit:

    >>> waits = [Backlog(3600.0, 1800.0)]
    >>> int(extra_units(waits, np.zeros(60), 0.0, 1.0, np.full(60, 4)).sum())
    30
    """
    extra = np.zeros(spare.size, np.int64)
    work_s = 0.0
    for each in sorted(backlog, key=lambda one: one.deadline_s):
        last = math.floor((each.deadline_s - start_s) / SLOT_S)
        if last > spare.size:
            break
        work_s += each.work_s
        before = slice(0, max(last, 0))
        done_s = SLOT_S * (TRUST * float(spare[before].sum()) + unit_erl * int(extra[before].sum()))
        missing = math.ceil((work_s - done_s) / (SLOT_S * unit_erl) - 1e-9)
        while missing > 0:
            free = np.flatnonzero(extra[before] < room[before])[-missing:]
            if not free.size:
                break  # it will be late
            level = int(extra[free].min())
            free = free[extra[free] == level]
            extra[free] += 1
            missing -= free.size
    return extra
