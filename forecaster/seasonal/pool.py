"""The pool: closed-form seasons, each weighted by how well it said the last days in advance.

No single season wins everywhere: yesterday after a change of regime, last week for what repeats by
weekday, profiles and ridge for what is stable (research/forecasting.md, sections 3 and 8.3).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray
from forecaster.seasonal.member import DAY_S, WEEK_S, Member, fill_season
from forecaster.seasonal.profile import SlotProfile
from forecaster.seasonal.ridge import CalendarRidge
from forecaster.seasonal.softlog import from_z

VERIFIED_DAYS = 5
POWER = 4.0
"""Weights are (least error / error) to this power."""
HALF_LIFE_DAYS = 4.0
SMOOTH_S = 2700.0


class SmoothNaive(Member):
    """Yesterday, or last week, without its noise: a centred mean over three quarters of an hour."""

    def __init__(self, season_s: int) -> None:
        self.season_s = season_s
        self.name = f"smooth-{season_s // DAY_S}-day"

    def _learn(self) -> None:
        T = self.Z.shape[0]
        season = round(self.season_s / self.calendar.slot_s)
        self.season = season if season <= T else min(self.slots_per_day, T)
        filled = fill_season(self.Z, min(self.slots_per_day, T))
        window = max(int(SMOOTH_S / self.calendar.slot_s) | 1, 1)
        if window >= T:
            self.smooth = filled
            return
        padded = np.pad(filled, ((window // 2, window // 2), (0, 0)), mode="edge")
        total = np.cumsum(np.vstack([np.zeros((1, filled.shape[1])), padded]), axis=0)
        self.smooth = (total[window:] - total[:-window]) / window

    def _continue(self, slots: npt.NDArray[np.int64]) -> FloatArray:
        if self.smooth.shape[0] < self.Z.shape[0]:
            self._learn()
        T = self.Z.shape[0]
        return np.asarray(self.smooth[T - self.season + (slots - T) % self.season])


SEASONS: tuple[Callable[[], Member], ...] = (
    lambda: SmoothNaive(DAY_S),
    lambda: SmoothNaive(WEEK_S),
    SlotProfile,
    lambda: SlotProfile(half_life_days=3.0),
    CalendarRidge,
)


class Pool(Member):
    """Weighted mean of the seasons on the z scale, series by series."""

    name = "pool"

    def _learn(self) -> None:
        T = self.Z.shape[0]
        self.learnt_at = T
        self.weights = self._weights()
        self.seasons = [self._fitted(make, T) for make in SEASONS]

    def _weights(self) -> FloatArray:
        """Weight of each season, float64[M, N], from forecasts of the last days made before them."""
        T, N = self.Z.shape
        day = self.slots_per_day
        error, mass = np.zeros((len(SEASONS), N)), np.zeros(N)
        for back in range(VERIFIED_DAYS, 0, -1):
            start = T - back * day
            if start < 2 * day:
                continue
            ahead = np.arange(1, day + 1)
            actual = self.Z[start : start + day]
            seen = np.isfinite(actual)
            age = 0.5 ** ((back - 1) / HALF_LIFE_DAYS)
            for m, make in enumerate(SEASONS):
                path = self._fitted(make, start).path(ahead.tolist())
                error[m] += age * np.where(seen, np.abs(actual - path), 0.0).sum(axis=0)
            mass += age * seen.sum(axis=0)
        error = np.where(mass > 0, error / np.maximum(mass, 1), 1.0)
        share = (error.min(axis=0) / np.maximum(error, 1e-9)) ** POWER
        share = np.where(error.min(axis=0) > 0, share, error <= 0)
        return np.asarray(share / share.sum(axis=0))

    def _fitted(self, make: Callable[[], Member], slots: int) -> Member:
        Z = self.Z[:slots]
        mask = np.isfinite(Z)
        return make().fit(from_z(np.where(mask, Z, 0.0), self.scale), self.calendar, mask)

    def _continue(self, slots: npt.NDArray[np.int64]) -> FloatArray:
        if self.Z.shape[0] - self.learnt_at >= self.slots_per_day:
            self._learn()
        ahead = (slots - self.learnt_at + 1).tolist()
        total = np.zeros((slots.size, self.Z.shape[1]))
        for weight, season in zip(self.weights, self.seasons, strict=True):
            # each season has a scale of its own: back to the pool's
            own = from_z(season.path(ahead), season.scale)
            total += weight * np.log1p(own / self.scale)
        return total
