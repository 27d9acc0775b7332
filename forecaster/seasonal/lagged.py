"""Boosted trees on what a series did at the same time on other days, one model for all series together.

Each series is centred on its day before and divided by the spread of its week, so that all of them teach
the same trees (scikit-learn's histogram gradient boosting; one model over many series as in Montero-Manso and
Hyndman, "Principles and algorithms for forecasting groups of time series", 2021). Nothing younger than a
day is looked at: a path is said a day at a time, and what the last hours missed is the correction's matter.
"""

from __future__ import annotations

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.seasonal.member import DAY_S, HALF_HOUR_S, Member, SlotArray, fill_season
from forecaster.seasonal.softlog import Z_MAX

LAGS_S = 3600.0 * np.array(
    [24, 25, 26, 27, 28, 30, 36, 47, 48, 49, 71, 72, 73, 96, 119, 120, 121, 144, 167, 168, 169, 191, 192]
)  # fmt: skip
"""Around the same time of the last days, and of the last week."""
REACH_DAYS = 8
LEARN_DAYS = 2
"""Days that are learnt at least, beyond those that the lags reach back."""
FAR = 8.0
"""A step from yesterday of more than this many spreads teaches as one of so many."""


class LaggedTrees(Member):
    """Gradient boosting of the step from yesterday's slot, on values of a day to eight days before.

    For slots of half an hour or more: finer ones were not tried.

    Parameters
    ----------
    trees, leaves : int
        Of the model; small ones, since the pool weighs others beside it.
    rate : float
        Learning rate.
    """

    name = "lagged"
    refit_days = 7
    finest_slot_s = HALF_HOUR_S

    def __init__(self, trees: int = 100, leaves: int = 8, rate: float = 0.08) -> None:
        self.trees, self.leaves, self.rate = trees, leaves, rate

    def _learn(self) -> None:
        # heavy: imported when it is used
        from sklearn.ensemble import HistGradientBoostingRegressor

        day = self.slots_per_day
        self.lags = np.unique(np.rint(LAGS_S * day / DAY_S).astype(np.int64))
        self.reach = REACH_DAYS * day
        self.model = None
        if self.Z.shape[0] < self.reach + LEARN_DAYS * day:
            return
        Z = fill_season(self.Z, day).astype(np.float64)
        slots = np.arange(self.reach, Z.shape[0])
        table, size = self._features(Z, slots, 0)
        step = (Z[slots] - Z[slots - day]) / size
        seen = np.isfinite(self.Z[slots]).ravel()
        if not seen.any():
            return
        model = HistGradientBoostingRegressor(
            max_iter=self.trees, learning_rate=self.rate, max_leaf_nodes=self.leaves,
            early_stopping=False, random_state=0,
        )  # fmt: skip
        self.model = model.fit(table[seen], np.clip(step.ravel()[seen], -FAR, FAR))

    def _continue(self, slots: SlotArray) -> FloatArray:
        """Yesterday once more where there was too little to learn from."""
        day = self.slots_per_day
        before = max(self.Z.shape[0] - self.reach, 0)
        path = fill_season(self.Z, day)[before:].astype(np.float64)
        while before + path.shape[0] <= slots.max():
            ahead = np.arange(path.shape[0], path.shape[0] + day)
            path = np.concatenate([path, np.zeros((day, path.shape[1]))])
            step: FloatArray | float = 0.0
            if self.model is not None:
                table, size = self._features(path, ahead, before)
                step = self.model.predict(table).reshape(size.shape) * size
            path[ahead] = np.clip(path[ahead - day] + step, 0.0, Z_MAX)
        return np.asarray(path[slots - before])

    def _features(
        self, Z: FloatArray, slots: SlotArray, first: int
    ) -> tuple[FloatArray, FloatArray]:
        """What the trees see of each slot and series, float64[n N, F], and the spread of the week, float64[n, N].

        Parameters
        ----------
        first : int
            Slot of the calendar at which `Z` begins.
        """
        day, series = self.slots_per_day, Z.shape[1]
        end = slots - day + 1  # of what is looked at: the slot a day before is the last
        total, square = (np.vstack([np.zeros(series), x.cumsum(axis=0)]) for x in (Z, Z * Z))
        centre = (total[end] - total[end - day]) / day
        level = (total[end] - total[end - 7 * day]) / (7 * day)
        variance = (square[end] - square[end - 7 * day]) / (7 * day) - level**2
        size = np.sqrt(np.maximum(variance, 0.0)) + 1e-3
        calendar, at = self.calendar, slots + first
        when = (calendar.minute_of_day(at), calendar.day_type(at), calendar.day_type(at - day))
        columns = [(Z[slots - lag] - centre) / size for lag in self.lags]
        columns.append((level - centre) / size)
        columns += [np.broadcast_to(of[:, None], size.shape) for of in when]
        return np.stack(columns, axis=2).reshape(-1, len(columns)), size
