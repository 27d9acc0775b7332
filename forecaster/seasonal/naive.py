"""Seasonal naive: yesterday, or the same time last week. The bar that everything must clear."""

from __future__ import annotations

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.seasonal.member import DAY_S, WEEK_S, Member, SlotArray, fill_season
from forecaster.seasonal.moving import moving_mean

_MEMORY_S = 2 * WEEK_S
"""How far back a value for a missing slot is looked for."""


class SeasonalNaive(Member):
    """The value one season ago, as it was or without its noise.

    Parameters
    ----------
    season_s : int
        86,400 (yesterday) or 604,800 (last week); falls back to yesterday on a shorter history.
    smooth_s : float
        Width of a centred mean, seconds; 0 = as it was.
    """

    def __init__(self, season_s: int, smooth_s: float = 0.0) -> None:
        self.season_s = season_s
        self.smooth_s = smooth_s
        self.name = ("smooth-" if smooth_s else "naive-") + {DAY_S: "day", WEEK_S: "week"}[season_s]

    def _learn(self) -> None:
        T = self.Z.shape[0]
        self.learnt_at = T
        day = min(self.slots_per_day, T)
        season = round(self.season_s / self.calendar.slot_s)
        season = season if season <= T else day
        memory = round(_MEMORY_S / self.calendar.slot_s)
        filled = fill_season(self.Z[-memory:], day)
        window = self._window()
        self.recent = centred_mean(filled[-season - window :], window)[-season:]

    def _continue(self, slots: SlotArray) -> FloatArray:
        if self.learnt_at < self.Z.shape[0]:
            self._learn()
        return np.asarray(self.recent[(slots - self.learnt_at) % self.recent.shape[0]])

    def _window(self) -> int:
        return max(int(self.smooth_s / self.calendar.slot_s) | 1, 1)


def centred_mean(values: FloatArray, window: int) -> FloatArray:
    """Mean over `window` rows round each, the ends repeated; unchanged where there are fewer."""
    if window <= 1 or window >= values.shape[0]:
        return values
    padded = np.pad(values, ((window // 2, window // 2), (0, 0)), mode="edge")
    return moving_mean(padded, window)
