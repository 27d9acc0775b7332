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

KINDS = HOLIDAY + 1


class Cells:
    """Sums over the cells of a local day of each kind; recent days weigh more.

    Attributes
    ----------
    total : float64[8, m, N]
        Weighted sum of z.
    mass : float64[8, m, N]
        Weight of what was measured.
    grid : float64[8, m]
        Weight of all slots, measured or not.
    """

    def __init__(self, calendar: CalendarFeatures, series: int, half_life_days: float) -> None:
        self.calendar = calendar
        self.half_life_days = half_life_days
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
        per_slot = 0.5 ** (self.calendar.slot_s / DAY_S / self.half_life_days)
        aged = per_slot**slots.size
        weight = per_slot ** (Z.shape[0] - slots)
        shape = (self.grid.size, slots.size)
        kind, phase = cell_of(self.calendar, slots)
        cell = kind * self.grid.shape[1] + phase
        where = (cell, np.arange(slots.size))
        fold = csr_array((weight.astype(Z.dtype), where), shape=shape)
        grid = np.bincount(cell, weight, self.grid.size)
        seen = np.isfinite(fresh)
        whole = bool(seen.all())
        total = fold @ (fresh if whole else np.where(seen, fresh, 0.0))
        mass = grid[:, None] if whole else fold @ seen.astype(Z.dtype)
        self.total = aged * self.total + total.reshape(self.total.shape)
        self.mass = aged * self.mass + mass.reshape(*self.grid.shape, -1)
        self.grid = aged * self.grid + grid.reshape(self.grid.shape)
        self.slots = Z.shape[0]


def cell_of(calendar: CalendarFeatures, slots: SlotArray) -> tuple[SlotArray, SlotArray]:
    """Kind of day (0..7) and slot of the local day of each slot."""
    minute = calendar.minute_of_day(slots)
    phase = (minute * 60 // calendar.slot_s).astype(np.int64) % slots_per_day(calendar.slot_s)
    return calendar.day_type(slots), phase
