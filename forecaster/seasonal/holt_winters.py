"""Holt-Winters (statsmodels): level and daily season by exponential smoothing."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray
from forecaster.domain.errors import ModelError
from forecaster.seasonal.member import Member, fill_season


class HoltWinters(Member):
    """Additive season of a day on the z scale, no trend; one model per series.

    Smoothing constants are fixed: optimising them over a day of five-minute slots costs a hundred
    times more and brings nothing, since the short-lead correction follows the level.
    """

    name = "holt-winters"

    def __init__(self, level: float = 0.02, season: float = 0.2) -> None:
        self.level = level
        self.season = season

    def _learn(self) -> None:
        # heavy: imported when it is used
        from statsmodels.tsa.holtwinters import ExponentialSmoothing

        T, N = self.Z.shape
        m = self.slots_per_day
        if 2 * m > T:
            raise ModelError("holt-winters needs two whole days", "ingest more history")
        filled = fill_season(self.Z, m)
        self.learnt_at = T
        self.models = []
        for n in range(N):
            model = ExponentialSmoothing(
                filled[:, n], seasonal="add", seasonal_periods=m, initialization_method="heuristic"
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.models.append(
                    model.fit(
                        smoothing_level=self.level, smoothing_seasonal=self.season, optimized=False
                    )
                )

    def _continue(self, slots: npt.NDArray[np.int64]) -> FloatArray:
        if self.Z.shape[0] - self.learnt_at >= self.slots_per_day:
            self._learn()
        ahead = slots - self.learnt_at
        steps = int(ahead.max()) + 1
        paths = np.column_stack([np.asarray(model.forecast(steps)) for model in self.models])
        return np.asarray(paths[ahead])
