"""What every member of the forecasting family shares: the scale, the history, the rolling origin."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from forecaster.domain.demand import FloatArray
from forecaster.domain.errors import ModelError
from forecaster.domain.ports import CalendarFeatures
from forecaster.seasonal.softlog import from_z, scale_of, to_z

BoolArray = npt.NDArray[np.bool_]
SlotArray = npt.NDArray[np.int64]
DAY_S = 86_400
HALF_HOUR_S = 1800.0
WEEK_S = 7 * DAY_S


class Member(ABC):
    """A forecaster of the `Forecaster` protocol that learns on the soft-log scale.

    Subclasses learn a season from `Z` and continue it; the base class keeps the history, appends
    updates, rolls the origin, and gives quantiles by the spread of the history (a rough guess: the
    conformal calibration replaces it as soon as verified errors exist).
    """

    name: str
    refit_days: int = 1
    """Days between refits in a backtest: cheap members refit daily."""
    finest_slot_s: float = 0.0
    """The finest slots that it is meant for."""

    def suits(self, slot_s: float) -> bool:
        """Whether it is meant for slots of this length, seconds."""
        return slot_s >= self.finest_slot_s

    def fit(self, Y: FloatArray, calendar: CalendarFeatures, mask: BoolArray) -> Self:
        """Learn from ``Y[T, N]``; see `forecaster.domain.ports.Forecaster`.

        Raises
        ------
        ModelError
            When there is nothing to learn from.
        """
        if Y.ndim != 2 or Y.shape != mask.shape or not mask.any():
            raise ModelError(f"{self.name}: nothing to learn from in {Y.shape}", "check the mask")
        scale = scale_of(Y, mask)
        Z = np.where(mask, to_z(np.where(mask, Y, 0.0), scale), np.nan)
        return self.fit_z(Z, scale, calendar)

    def fit_z(self, Z: FloatArray, scale: FloatArray, calendar: CalendarFeatures) -> Self:
        """Learn from a history that is on the z scale already, float64[T, N], NaN = missing."""
        self.calendar = calendar
        self.slots_per_day = slots_per_day(calendar.slot_s)
        self.scale = scale
        self.Z = Z
        self._learn()
        return self

    def update(self, y: FloatArray) -> Self:
        """Append one slot, float64[N], or several, float64[k, N]; NaN is missing."""
        self._check_fitted()
        return self.update_z(to_z(np.atleast_2d(y), self.scale))

    def update_z(self, Z: FloatArray) -> Self:
        """Append slots on the z scale, float64[k, N]."""
        self.Z = np.concatenate([self.Z, Z])
        return self

    def quantiles(self, horizons: Sequence[int], levels: Sequence[float]) -> FloatArray:
        """Demand `h` slots ahead, float64[H, N, Q], in the unit of ``Y``."""
        path = self.path(horizons)
        steps = ndtri(np.asarray(levels, dtype=np.float64))
        z = path[:, :, None] + self._spread()[None, :, None] * steps[None, None, :]
        return from_z(z, self.scale[None, :, None])

    def path(self, horizons: Sequence[int]) -> FloatArray:
        """Median `h` slots ahead on the z scale, float64[H, N]."""
        self._check_fitted()
        ahead = np.asarray(horizons, dtype=np.int64)
        if ahead.size == 0 or ahead.min() < 1:
            raise ModelError(
                f"{self.name}: horizons must be 1 or more slots", "forecast the future"
            )
        z = self._continue(self.Z.shape[0] - 1 + ahead)
        known = np.isfinite(z)
        return z if known.all() else np.where(known, z, self._level()[None, :])

    def roll(
        self, Z: FloatArray, scale: FloatArray, calendar: CalendarFeatures, first: int, days: int
    ) -> FloatArray:
        """Say the days to come every day from slot `first` on, from what lay before; all of `Z` is known then.

        Parameters
        ----------
        Z : float64[T, N]
            History on the z scale of `scale`.
        first : int
            First slot of the first fold; others follow every day, up to the end of what is known.
        days : int
            D, days that each fold says.

        Returns
        -------
        float64[F, D days, N]
            z of the slots from each fold's first on.
        """
        T, N = Z.shape
        day = slots_per_day(calendar.slot_s)
        starts = range(first, T + 1, day)
        self._folds = len(starts)
        said = np.empty((self._folds, days * day, N), Z.dtype)
        for fold, start in enumerate(starts):
            if fold == 0:
                self.fit_z(Z[:start], scale, calendar)
            elif fold % self.refit_days:
                self.Z = Z[:start]  # known, not learnt yet
            else:
                self.extend_z(Z[:start])
            said[fold] = self.path(range(1, days * day + 1))
        self.Z = Z
        return said

    def recall(self, error: FloatArray) -> None:
        """Before `roll`: what was missed on the days before, float64[F, M, N], in units of the scale."""
        del error  # of interest to the pool alone

    def recalled(self) -> FloatArray:
        """After `roll`: the same of its own folds, float64[F, M, N]; M is 0 but for the pool."""
        return np.zeros((self._folds, 0, self.Z.shape[1]))

    def extend_z(self, Z: FloatArray) -> None:
        """Learn from a history of which `self.Z` is the beginning."""
        self.fit_z(Z, self.scale, self.calendar)

    @abstractmethod
    def _learn(self) -> None:
        """Learn the season from ``self.Z[T, N]`` (NaN = missing)."""

    @abstractmethod
    def _continue(self, slots: SlotArray) -> FloatArray:
        """Return z at future slots (0 = first training slot), float64[H, N]."""

    def _level(self) -> FloatArray:
        """Mean z: what to say where the season is silent."""
        return mean_z(self.Z)

    def _spread(self) -> FloatArray:
        """Spread of z against the same time a day before (half of its variance is the season's)."""
        m = self.slots_per_day
        if self.Z.shape[0] <= m:
            return np.full(self.Z.shape[1], 0.5)
        diff = self.Z[m:] - self.Z[:-m]
        seen = np.isfinite(diff)
        variance = np.where(seen, diff**2, 0.0).sum(0) / np.maximum(seen.sum(0), 1)
        return np.asarray(np.sqrt(np.maximum(variance / 2.0, 1e-6)))

    def _check_fitted(self) -> None:
        if not hasattr(self, "Z"):
            raise ModelError(f"{self.name} is not fitted", "call fit first")


def slots_per_day(slot_s: float) -> int:
    """Slots of a day, at least one."""
    return max(round(DAY_S / slot_s), 1)


def mean_z(Z: FloatArray) -> FloatArray:
    """Mean of what is known of each series, float64[N]; 0 where nothing is."""
    seen = np.isfinite(Z)
    return np.asarray(np.where(seen, Z, 0.0).sum(0) / np.maximum(seen.sum(0), 1))


def fill_season(Z: FloatArray, season: int) -> FloatArray:
    """Fill missing values with the same slot of the nearest season that has one, else the mean.

    Examples
    --------
    >>> fill_season(np.array([[1.0], [2.0], [np.nan], [4.0]]), 2).ravel()
    array([1., 2., 1., 4.])
    """
    if np.isfinite(Z).all():
        return Z
    filled = Z.copy()
    periods = -(-Z.shape[0] // season)
    for back in [s * k for k in range(1, periods + 1) for s in (season, -season)]:
        missing = ~np.isfinite(filled)
        if not missing.any():
            return filled
        other = np.full_like(Z, np.nan)
        if back > 0:
            other[back:] = Z[:-back]
        else:
            other[:back] = Z[-back:]
        filled = np.where(missing, other, filled)
    return np.where(np.isfinite(filled), filled, mean_z(Z)[None, :])
