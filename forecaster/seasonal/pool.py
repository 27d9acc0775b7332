"""The pool: closed-form seasons, each weighted by how well it said the last days in advance.

No single season wins everywhere: yesterday after a change of regime, last week for what repeats by
weekday, profiles and ridge for what is stable (research/forecasting.md, sections 3 and 8.3).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.domain.ports import CalendarFeatures
from forecaster.seasonal.direct import DirectMap
from forecaster.seasonal.lagged import LaggedTrees
from forecaster.seasonal.member import DAY_S, WEEK_S, Member, SlotArray, slots_per_day
from forecaster.seasonal.naive import SeasonalNaive
from forecaster.seasonal.profile import SlotProfile
from forecaster.seasonal.ridge import CalendarRidge

VERIFIED_DAYS = 14
POWER = 4.0
"""Weights are (least error / error) to this power."""
HALF_LIFE_DAYS = 8.0
SMOOTH_S = 2700.0
_LEAST = 1e-6
"""Errors below this share of the scale are none."""

SEASONS: tuple[Callable[[], Member], ...] = (
    lambda: SeasonalNaive(DAY_S, SMOOTH_S),
    lambda: SeasonalNaive(WEEK_S, SMOOTH_S),
    SlotProfile,
    lambda: SlotProfile(half_life_days=3.0),
    lambda: SlotProfile(smooth_s=0.0),
    CalendarRidge,
    DirectMap,
)


class Pool(Member):
    """Weighted mean of the seasons on the z scale, series by series."""

    name = "pool"
    makers = SEASONS

    def __init__(self) -> None:
        self._before = np.zeros((len(self.makers), 0, 1))

    def roll(
        self, Z: FloatArray, scale: FloatArray, calendar: CalendarFeatures, first: int, days: int
    ) -> FloatArray:
        """Roll every season once, and weigh each fold by the days before it; see `Member.roll`."""
        self.Z, self.scale, self.calendar = Z, scale, calendar
        self.slots_per_day = day = slots_per_day(calendar.slot_s)
        self.learnt_at = Z.shape[0]
        self.seasons = self._suited()
        paths, errors = [], []
        past = (Z.shape[0] - first) // day
        for season in self.seasons:
            path = season.roll(Z, scale, calendar, first, days)
            season.extend_z(Z)
            paths.append(path)
            foretold = path[:past, :day].reshape(past * day, Z.shape[1])
            errors.append(self._daily_error(foretold, Z[first : first + past * day]))
        before = self._before[: len(self.seasons)]
        before = np.broadcast_to(before, (*before.shape[:2], Z.shape[1]))
        error = np.concatenate([before, np.stack(errors)], axis=1)
        said = np.empty_like(paths[0])
        for fold in range(past + 1):
            weights = pool_weights(error[:, : before.shape[1] + fold])
            said[fold] = sum(w * path[fold] for w, path in zip(weights, paths, strict=True))
        unknown = np.full((len(self.seasons), 1, Z.shape[1]), np.nan)
        self._found = np.concatenate([unknown, error], axis=1)[:, -past - 1 :]
        self.error, self.weights = error[:, -VERIFIED_DAYS:], pool_weights(error)
        return said

    def recall(self, error: FloatArray) -> None:
        """Days that were verified before; see `Member.recall`."""
        self._before = error.transpose(1, 0, 2)

    def recalled(self) -> FloatArray:
        """What the seasons missed on the day before each fold; see `Member.recalled`."""
        return self._found.transpose(1, 0, 2)

    def extend_z(self, Z: FloatArray) -> None:
        """Verify the days that are new, learn them, and weigh anew; see `Member.extend_z`."""
        self.Z, day = Z, self.slots_per_day
        while Z.shape[0] - self.learnt_at >= day:
            first, end = self.learnt_at, self.learnt_at + day
            ahead = range(1, day + 1)
            fresh = [self._daily_error(season.path(ahead), Z[first:end]) for season in self.seasons]
            self.error = np.concatenate([self.error, np.stack(fresh)], axis=1)[:, -VERIFIED_DAYS:]
            for season in self.seasons:
                season.extend_z(Z[:end])
            self.learnt_at = end
        self.weights = pool_weights(self.error)

    def _learn(self) -> None:
        T, day = self.Z.shape[0], self.slots_per_day
        days = min(max(T // day - 2, 0), VERIFIED_DAYS)
        if days:
            self.roll(self.Z, self.scale, self.calendar, T - days * day, 1)
            return
        self.learnt_at = T
        self.seasons = [
            season.fit_z(self.Z, self.scale, self.calendar) for season in self._suited()
        ]
        self.error = np.zeros((len(self.seasons), 0, self.Z.shape[1]))
        self.weights = pool_weights(self.error)

    def _suited(self) -> list[Member]:
        seasons = [make() for make in self.makers]
        return [season for season in seasons if season.suits(self.calendar.slot_s)]

    def _daily_error(self, path: FloatArray, actual: FloatArray) -> FloatArray:
        """Mean absolute error of a season on each of whole days, float64[folds, N]; NaN = unknown."""
        error = np.abs(np.expm1(path) - np.expm1(actual))
        error = error.reshape(-1, self.slots_per_day, actual.shape[1])
        seen = np.isfinite(error)
        count = seen.sum(axis=1)
        total = np.where(seen, error, 0.0).sum(axis=1, dtype=np.float64)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def _continue(self, slots: SlotArray) -> FloatArray:
        if self.Z.shape[0] - self.learnt_at >= self.slots_per_day:
            self.extend_z(self.Z)
        ahead = (slots - self.learnt_at + 1).tolist()
        total = np.zeros((slots.size, self.Z.shape[1]))
        for weight, season in zip(self.weights, self.seasons, strict=True):
            total += weight * season.path(ahead)
        return total


class Ensemble(Pool):
    """The pool with boosted trees among its seasons: the accuracy mode, at four times the time of the pool."""

    name = "ensemble"
    makers = (*SEASONS, LaggedTrees)
    finest_slot_s = LaggedTrees.finest_slot_s


def pool_weights(error: FloatArray) -> FloatArray:
    """Weights from the errors of the last days, float64[M, N], the columns sum to 1.

    Parameters
    ----------
    error : float64[M, days, N]
        Daily errors in units of the scale; NaN where a day was not measured.

    Examples
    --------
    Twice the error has a sixteenth of the weight:

    >>> pool_weights(np.array([[[1.0]], [[2.0]]])).ravel().round(3)
    array([0.941, 0.059])
    """
    recent = error[:, -VERIFIED_DAYS:]
    age = 0.5 ** (np.arange(recent.shape[1])[::-1] / HALF_LIFE_DAYS)
    seen = np.isfinite(recent)
    total = np.einsum("d,mdn->mn", age, np.where(seen, recent, 0.0))
    mass = np.einsum("d,mdn->mn", age, seen.astype(float))
    mean = np.where(mass > 0, total / np.maximum(mass, 1e-12), 1.0) + _LEAST
    share = (mean.min(axis=0) / mean) ** POWER
    return np.asarray(share / share.sum(axis=0))
