"""Ridge on Fourier terms of the day, by kind of day: the closed-form season."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray
from forecaster.seasonal.member import DAY_S, Member
from forecaster.seasonal.profile import day_group


class CalendarRidge(Member):
    """z ~ Fourier(day) + Fourier(day) x kind of day + weekday level, weighted by recency.

    Parameters
    ----------
    order : int
        Harmonics of the day that all days share.
    kind_order : int
        Harmonics that Saturdays, Sundays and holidays have of their own.
    half_life_days : float
        Age at which a day weighs half.
    penalty : float
        Ridge penalty in slots.
    """

    name = "ridge"

    def __init__(
        self,
        order: int = 12,
        kind_order: int = 6,
        half_life_days: float = 10.0,
        penalty: float = 3.0,
    ) -> None:
        self.order = order
        self.kind_order = kind_order
        self.half_life_days = half_life_days
        self.penalty = penalty

    def _learn(self) -> None:
        T, N = self.Z.shape
        self.learnt_at = T
        slots = np.arange(T)
        X = self._features(slots)
        weight = 0.5 ** ((T - slots) * self.calendar.slot_s / DAY_S / self.half_life_days)
        seen = np.isfinite(self.Z)
        ridge = self.penalty * np.eye(X.shape[1])
        ridge[0, 0] = 1e-6
        Z = np.where(seen, self.Z, 0.0)
        if seen.all():
            XtW = X.T * weight
            self.W = np.linalg.solve(XtW @ X + ridge, XtW @ Z)
            return
        self.W = np.empty((X.shape[1], N))
        for n in range(N):
            XtW = X.T * (weight * seen[:, n])
            self.W[:, n] = np.linalg.solve(XtW @ X + ridge, XtW @ Z[:, n])

    def _continue(self, slots: npt.NDArray[np.int64]) -> FloatArray:
        if self.Z.shape[0] - self.learnt_at >= self.slots_per_day:
            self._learn()
        return np.asarray(self._features(slots) @ self.W)

    def _features(self, slots: npt.NDArray[np.int64]) -> FloatArray:
        angle = 2 * np.pi * self.calendar.minute_of_day(slots) / 1440.0
        kind = self.calendar.day_type(slots)
        shared = _harmonics(angle, min(self.order, self.slots_per_day // 2))
        own = np.column_stack([np.ones(slots.size), shared[:, : 2 * self.kind_order]])
        group = day_group(kind)
        columns = [np.ones((slots.size, 1)), shared]
        columns += [own * (group == g)[:, None] for g in (1, 2)]
        columns += [(kind == day)[:, None].astype(float) for day in range(8)]
        return np.concatenate(columns, axis=1)


def _harmonics(angle: FloatArray, order: int) -> FloatArray:
    turns = angle[:, None] * np.arange(1, order + 1)[None, :]
    both = np.stack([np.sin(turns), np.cos(turns)], axis=2)
    return np.asarray(both.reshape(angle.size, 2 * order))
