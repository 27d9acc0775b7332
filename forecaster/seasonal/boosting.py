"""Gradient boosting (scikit-learn) on the calendar and on the values of a day and a week ago."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray
from forecaster.domain.errors import ModelError
from forecaster.seasonal.member import Member, fill_season


class Boosting(Member):
    """Histogram gradient boosting, one model per series; horizons beyond a day are rolled."""

    name = "boosting"
    refit_days = 3

    def __init__(self, trees: int = 80, smooth_slots: int = 7) -> None:
        self.trees = trees
        self.smooth_slots = smooth_slots

    def _learn(self) -> None:
        # heavy: imported when it is used
        from sklearn.ensemble import HistGradientBoostingRegressor

        m = self.slots_per_day
        T, N = self.Z.shape
        if 2 * m >= T:
            raise ModelError("boosting needs more than two days", "ingest more history")
        filled = fill_season(self.Z, m)
        self.models = []
        for n in range(N):
            rows = np.flatnonzero(np.isfinite(self.Z[:, n]))
            rows = rows[rows >= m]
            model = HistGradientBoostingRegressor(
                max_iter=self.trees,
                learning_rate=0.08,
                max_leaf_nodes=24,
                min_samples_leaf=20,
                random_state=0,
            )
            self.models.append(model.fit(self._features(rows, filled[:, n]), self.Z[rows, n]))

    def _continue(self, slots: npt.NDArray[np.int64]) -> FloatArray:
        m = self.slots_per_day
        filled = fill_season(self.Z, m)
        last = int(slots.max())
        paths = []
        for n, model in enumerate(self.models):
            z = filled[:, n]
            while z.size <= last:
                ahead = np.arange(z.size, min(z.size + m, last + 1))
                z = np.concatenate([z, model.predict(self._features(ahead, z))])
            paths.append(z[slots])
        return np.column_stack(paths)

    def _features(self, slots: npt.NDArray[np.int64], z: FloatArray) -> FloatArray:
        m = self.slots_per_day
        kernel = np.ones(self.smooth_slots) / self.smooth_slots
        smooth = np.convolve(np.pad(z, self.smooth_slots // 2, mode="edge"), kernel, mode="valid")
        day = smooth[slots - m]
        week = np.where(slots >= 7 * m, smooth[np.maximum(slots - 7 * m, 0)], day)
        kind = self.calendar.day_type(slots)
        kind_then = self.calendar.day_type(slots - m)
        return np.column_stack([self.calendar.minute_of_day(slots), kind, kind_then, day, week])
