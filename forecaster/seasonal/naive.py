"""Seasonal naive: yesterday, or the same time last week. The bar that everything must clear."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray
from forecaster.seasonal.member import DAY_S, WEEK_S, Member, fill_season


class SeasonalNaive(Member):
    """The value one season ago.

    Parameters
    ----------
    season_s : int
        86,400 (yesterday) or 604,800 (last week); falls back to yesterday on a shorter history.
    """

    def __init__(self, season_s: int) -> None:
        self.season_s = season_s
        self.name = {DAY_S: "naive-day", WEEK_S: "naive-week"}[season_s]

    def _learn(self) -> None:
        season = round(self.season_s / self.calendar.slot_s)
        self.season = season if season <= self.Z.shape[0] else self.slots_per_day

    def _continue(self, slots: npt.NDArray[np.int64]) -> FloatArray:
        T = self.Z.shape[0]
        season = min(self.season, T)
        filled = fill_season(self.Z, min(self.slots_per_day, T))
        recent = filled[T - season :]
        return np.asarray(recent[(slots - T) % season])
