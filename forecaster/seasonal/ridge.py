"""Ridge on Fourier terms of the day, by kind of day: the closed-form season."""

from __future__ import annotations

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.seasonal.cells import KINDS, Cells, cell_of
from forecaster.seasonal.member import Member, SlotArray
from forecaster.seasonal.profile import day_group


class CalendarRidge(Member):
    """z ~ Fourier(day) + Fourier(day) x kind of day + weekday level, weighted by recency.

    The features depend on the cell (kind of day, time of day) only, so one small system serves all
    series; a cell's missing slots count as what the series does at that time of day.

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
        self.cells = Cells(self.calendar, self.Z.shape[1], self.half_life_days)
        kind, phase = np.divmod(np.arange(KINDS * self.slots_per_day), self.slots_per_day)
        self.features = self._features(kind, phase)
        self.extend_z(self.Z)

    def extend_z(self, Z: FloatArray) -> None:
        """Learn the slots that are new; see `Member.extend_z`."""
        self.Z = Z
        self.cells.extend(Z)
        cells = self.cells
        at_time = cells.total.sum(axis=0) / np.maximum(cells.mass.sum(axis=0), 1e-9)
        ridge = self.penalty * np.eye(self.features.shape[1])
        ridge[0, 0] = 1e-6
        moment = np.zeros((ridge.shape[0], Z.shape[1]))
        for kind, weight in enumerate(cells.grid):
            if not weight.any():
                continue
            X = self.features[kind * self.slots_per_day : (kind + 1) * self.slots_per_day]
            missing = weight[:, None] - cells.mass[kind]
            ridge += (X.T * weight) @ X
            moment += X.T @ (cells.total[kind] + missing * at_time)
        self.W = np.linalg.solve(ridge, moment)

    def _continue(self, slots: SlotArray) -> FloatArray:
        if self.Z.shape[0] - self.cells.slots >= self.slots_per_day:
            self.extend_z(self.Z)
        kind, phase = cell_of(self.calendar, slots)
        return np.asarray(self.features[kind * self.slots_per_day + phase] @ self.W)

    def _features(self, kind: SlotArray, phase: SlotArray) -> FloatArray:
        angle = 2 * np.pi * phase / self.slots_per_day
        shared = _harmonics(angle, min(self.order, self.slots_per_day // 2))
        own = np.column_stack([np.ones(kind.size), shared[:, : 2 * self.kind_order]])
        group = day_group(kind)
        columns = [np.ones((kind.size, 1)), shared]
        columns += [own * (group == g)[:, None] for g in (1, 2)]
        columns += [(kind == day)[:, None].astype(float) for day in range(KINDS)]
        return np.concatenate(columns, axis=1)


def _harmonics(angle: FloatArray, order: int) -> FloatArray:
    turns = angle[:, None] * np.arange(1, order + 1)[None, :]
    both = np.stack([np.sin(turns), np.cos(turns)], axis=2)
    return np.asarray(both.reshape(angle.size, 2 * order))
