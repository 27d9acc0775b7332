"""Slot profile: the mean day of each kind, recent weeks weighing more."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray
from forecaster.seasonal.cells import KINDS, Cells, cell_of
from forecaster.seasonal.member import Member, SlotArray

SATURDAY, SUNDAY = 5, 6
_LEAST = 1e-6


class SlotProfile(Member):
    """Smoothed mean day plus the shrunk deviation of each weekday.

    Parameters
    ----------
    half_life_days : float
        Age at which a day weighs half.
    smooth_s : float
        Width of the smoothing window over the day, seconds; 0 keeps spikes on the half hour.
    shrink_days : float
        Weight of the mean day against a weekday's own days.
    """

    name = "profile"

    def __init__(
        self, half_life_days: float = 10.0, smooth_s: float = 2700.0, shrink_days: float = 0.5
    ) -> None:
        self.half_life_days = half_life_days
        self.smooth_s = smooth_s
        self.shrink_days = shrink_days

    def _learn(self) -> None:
        self.cells = Cells(self.calendar, self.Z.shape[1], self.half_life_days, self.smooth_s)
        self.extend_z(self.Z)

    def extend_z(self, Z: FloatArray) -> None:
        """Learn the slots that are new; see `Member.extend_z`."""
        self.Z = Z
        self.cells.extend(Z)
        self._days: dict[int, FloatArray] = {}

    def _mean_day(self, kind: int) -> FloatArray:
        """Mean day of a kind, float64[m, N]: worked out when it is asked for, few kinds are at a time."""
        if kind in self._days:
            return self._days[kind]
        total, mass = self.cells.total, self.cells.mass
        of_day, mass_of_day = total.sum(axis=0), mass.sum(axis=0)
        level = of_day.sum(axis=0) / (mass_of_day.sum(axis=0) + 1e-12)
        every = (of_day + _LEAST * level) / (mass_of_day + _LEAST)
        group = day_group(np.arange(KINDS))
        own = group == group[kind]
        base = (total[own].sum(axis=0) + _LEAST * every) / (mass[own].sum(axis=0) + _LEAST)
        day: FloatArray = (total[kind] + self.shrink_days * base) / (mass[kind] + self.shrink_days)
        self._days[kind] = day
        return day

    def _continue(self, slots: SlotArray) -> FloatArray:
        if self.Z.shape[0] - self.cells.slots >= self.slots_per_day:
            self.extend_z(self.Z)
        kinds, phase = cell_of(self.calendar, slots)
        path = np.empty((slots.size, self.Z.shape[1]))
        for kind in np.unique(kinds).tolist():
            mine = kinds == kind
            path[mine] = self._mean_day(kind)[phase[mine]]
        return path


def day_group(kind: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """0 = working day, 1 = Saturday, 2 = Sunday or holiday."""
    return np.where(kind >= SUNDAY, 2, np.where(kind == SATURDAY, 1, 0))
