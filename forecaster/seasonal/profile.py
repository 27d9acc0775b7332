"""Slot profile: the mean day of each kind, recent weeks weighing more."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray
from forecaster.seasonal.calendar import HOLIDAY
from forecaster.seasonal.member import DAY_S, Member

SATURDAY, SUNDAY = 5, 6


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
        T, _ = self.Z.shape
        self.refresh_at = T
        slots = np.arange(T)
        phase = self._phase(slots)
        kind = self.calendar.day_type(slots)
        age_days = (T - slots) * self.calendar.slot_s / DAY_S
        weight = 0.5 ** (age_days / self.half_life_days)
        group = day_group(kind)
        base = {
            g: self._mean_day(phase, weight * (group == g), 0.0, None) for g in np.unique(group)
        }
        everything = self._mean_day(phase, weight, 0.0, None)
        self.profiles = {}
        for day in range(HOLIDAY + 1):
            g = int(day_group(np.array([day]))[0])
            prior = base.get(g, everything)
            self.profiles[day] = self._mean_day(
                phase, weight * (kind == day), self.shrink_days, prior
            )

    def _mean_day(
        self,
        phase: npt.NDArray[np.int64],
        weight: FloatArray,
        prior_days: float,
        prior: FloatArray | None,
    ) -> FloatArray:
        m, N = self.slots_per_day, self.Z.shape[1]
        seen = np.isfinite(self.Z)
        total, mass = np.zeros((m, N)), np.zeros((m, N))
        np.add.at(total, phase, np.where(seen, self.Z, 0.0) * weight[:, None])
        np.add.at(mass, phase, seen * weight[:, None])
        window = max(int(self.smooth_s / self.calendar.slot_s) | 1, 1)
        total, mass = _circular_mean(total, window), _circular_mean(mass, window)
        if prior is None:
            prior, prior_days = np.broadcast_to(self._level(), (m, N)), 1e-6
        return np.asarray((total + prior_days * prior) / (mass + prior_days))

    def _phase(self, slots: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        minute = self.calendar.minute_of_day(slots)
        return (minute * 60 // self.calendar.slot_s).astype(np.int64) % self.slots_per_day

    def _continue(self, slots: npt.NDArray[np.int64]) -> FloatArray:
        if self.Z.shape[0] - self.refresh_at >= self.slots_per_day:
            self._learn()
        kind, phase = self.calendar.day_type(slots), self._phase(slots)
        stack = np.stack([self.profiles[day] for day in range(HOLIDAY + 1)])
        return np.asarray(stack[kind, phase])


def day_group(kind: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """0 = working day, 1 = Saturday, 2 = Sunday or holiday."""
    return np.where(kind >= SUNDAY, 2, np.where(kind == SATURDAY, 1, 0))


def _circular_mean(values: FloatArray, window: int) -> FloatArray:
    if window <= 1 or window >= values.shape[0]:
        return values
    half = window // 2
    padded = np.concatenate([values[-half:], values, values[:half]])
    total = np.cumsum(np.vstack([np.zeros((1, values.shape[1])), padded]), axis=0)
    return np.asarray((total[window:] - total[:-window]) / window)
