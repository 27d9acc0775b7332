"""Decayed sums of z per kind of day and time of day: all that profiles and the ridge need to know.

A history of any length folds into ``8 x slots_per_day`` cells per series; a new day is added in one
sparse product, and ages what was there. Thousands of series share the folding.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from forecaster.domain.demand import FloatArray
from forecaster.domain.ports import CalendarFeatures
from forecaster.seasonal.calendar import HOLIDAY
from forecaster.seasonal.member import DAY_S, SlotArray, slots_per_day
from forecaster.seasonal.moving import moving_mean

KINDS = HOLIDAY + 1


class Cells:
    """Sums over the cells of a local day of each kind; recent days weigh more.

    Parameters
    ----------
    calendar : CalendarFeatures
        Calendar of the grid.
    series : int
        N.
    half_life_days : float
        Age at which a day weighs half.
    smooth_s : float
        Width of a centred mean over the day, seconds; 0 keeps spikes on the half hour.

    Attributes
    ----------
    total : float64[8, m, N]
        Weighted sum of z.
    mass : float64[8, m, N]
        Weight of what was measured.
    grid : float64[8, m]
        Weight of all slots, measured or not; never smoothed.
    """

    def __init__(
        self,
        calendar: CalendarFeatures,
        series: int,
        half_life_days: float,
        smooth_s: float = 0.0,
    ) -> None:
        self.calendar = calendar
        self.half_life_days = half_life_days
        self.window = max(int(smooth_s / calendar.slot_s) | 1, 1)
        self.slots = 0
        m = slots_per_day(calendar.slot_s)
        self.total, self.mass = np.zeros((KINDS, m, series)), np.zeros((KINDS, m, series))
        self.grid = np.zeros((KINDS, m))

    def extend(self, Z: FloatArray) -> None:
        """Add the slots of ``Z[T, N]`` that are not in yet."""
        slots = np.arange(self.slots, Z.shape[0])
        if not slots.size:
            return
        fresh = Z[self.slots :]
        seen = np.isfinite(fresh)
        whole = bool(seen.all())
        known = fresh if whole else np.where(seen, fresh, 0.0)
        per_slot = 0.5 ** (self.calendar.slot_s / DAY_S / self.half_life_days)
        weight = per_slot ** (Z.shape[0] - slots)
        aged = per_slot**slots.size
        self.total *= aged
        self.mass *= aged
        self.grid *= aged
        kinds, phase = cell_of(self.calendar, slots)
        # The mean over the day is linear: what is smoothed as it comes stays smoothed.
        for kind in np.unique(kinds):
            mine = np.flatnonzero(kinds == kind)
            grid = np.bincount(phase[mine], weight[mine], self.grid.shape[1]).astype(np.float64)
            where = (phase[mine], np.arange(mine.size))
            shape = (grid.size, mine.size)
            fold = csr_array((weight[mine].astype(Z.dtype), where), shape=shape)
            mass: FloatArray = grid[:, None] if whole else fold @ seen[mine].astype(Z.dtype)
            self.total[kind] += circular_mean(fold @ known[mine], self.window)
            self.mass[kind] += circular_mean(mass, self.window)
            self.grid[kind] += grid
        self.slots = Z.shape[0]


def circular_mean(values: FloatArray, window: int) -> FloatArray:
    """Centred mean of ``values[m, N]`` over the day, which has no end.

    Examples
    --------
    >>> circular_mean(np.array([[3.0], [0.0], [0.0], [0.0]]), 3).ravel()
    array([1., 1., 0., 1.])
    """
    if window <= 1 or window >= values.shape[0]:
        return values
    half = window // 2
    padded = np.concatenate([values[-half:], values, values[:half]], dtype=np.float64)
    return moving_mean(padded, window)


def cell_of(calendar: CalendarFeatures, slots: SlotArray) -> tuple[SlotArray, SlotArray]:
    """Kind of day (0..7) and slot of the local day of each slot."""
    minute = calendar.minute_of_day(slots)
    phase = (minute * 60 // calendar.slot_s).astype(np.int64) % slots_per_day(calendar.slot_s)
    return calendar.day_type(slots), phase
