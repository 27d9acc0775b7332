"""Direct map: from the last week straight to each slot of the coming days, one ridge for all of them.

The week is centred on its last day's mean and divided by its own spread, so that one map learnt from
all series together says most of it; each series has its own, shrunk towards that one. For slots of
half an hour or more: on finer grids a week is too many numbers, and other seasons say as much.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from forecaster.domain.demand import FloatArray
from forecaster.seasonal.member import HALF_HOUR_S, Member, SlotArray, fill_season

WEEK_DAYS = 7
AHEAD_DAYS = 2


class DirectMap(Member):
    """Ridge from 7 days of z to the next 2 days, per series, shrunk to the pooled map.

    Parameters
    ----------
    common_penalty : float
        Ridge penalty of the pooled map, in windows' variance.
    penalty : float
        How strongly a series' own map is drawn to the pooled one.
    """

    name = "direct"
    refit_days = 7
    finest_slot_s = HALF_HOUR_S

    def __init__(self, common_penalty: float = 1e-3, penalty: float = 0.1) -> None:
        self.common_penalty = common_penalty
        self.penalty = penalty

    def _learn(self) -> None:
        day, series = self.slots_per_day, self.Z.shape[1]
        self.window, self.ahead = WEEK_DAYS * day, AHEAD_DAYS * day
        self.windows = 0
        self.moments = np.zeros((series, self.window, self.window + self.ahead), np.float32)
        self.extend_z(self.Z)

    def extend_z(self, Z: FloatArray) -> None:
        """Learn the slots that are new; see `Member.extend_z`."""
        self.Z = Z
        length = self.window + self.ahead
        windows = Z.shape[0] - length + 1
        if windows > self.windows:
            fresh = fill_season(Z[self.windows :], self.slots_per_day)
            for n in range(Z.shape[1]):
                whole = sliding_window_view(fresh[:, n], length)
                centre, size = self._frame(whole[:, : self.window])
                whole = ((whole - centre) / size).astype(np.float32)
                self.moments[n] += whole[:, : self.window].T @ whole
            self.windows = windows
        elif hasattr(self, "maps"):
            return  # nothing is new
        self.maps = self._maps()

    def _maps(self) -> FloatArray:
        """Map of each series, [N, 7 days, 2 days]; nothing where too little was seen."""
        if self.windows < self.slots_per_day:
            return np.zeros((self.Z.shape[1], self.window, self.ahead), np.float32)
        gram, moment = np.split(self.moments / self.windows, [self.window], axis=2)
        one = np.eye(self.window, dtype=np.float32)
        common = np.linalg.solve(gram.mean(axis=0) + self.common_penalty * one, moment.mean(axis=0))
        own = common + np.linalg.solve(gram + self.penalty * one, moment - gram @ common)
        return np.asarray(own, dtype=np.float64)

    def _continue(self, slots: SlotArray) -> FloatArray:
        last = int(slots.max()) + 1
        filled = fill_season(self.Z[-2 * self.window :], self.slots_per_day)
        path = filled[-self.window :].T
        if path.shape[1] < self.window:
            path = np.pad(path, ((0, 0), (self.window - path.shape[1], 0)), mode="edge")
        steps = 0
        while self.Z.shape[0] + steps < last:
            week = path[:, -self.window :]
            centre, size = self._frame(week)
            ahead = np.einsum("nw,nwh->nh", (week - centre) / size, self.maps) * size + centre
            path = np.concatenate([path, ahead], axis=1)
            steps += self.ahead
        return np.asarray(path.T[self.window + slots - self.Z.shape[0]])

    def _frame(self, week: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean of the last day and spread of the week."""
        centre = week[..., -self.slots_per_day :].mean(axis=-1, keepdims=True)
        return centre, week.std(axis=-1, keepdims=True) + 1e-6
