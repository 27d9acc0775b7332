"""What every member of the forecasting family shares: the scale, the history, the spread."""

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
DAY_S = 86_400
WEEK_S = 7 * DAY_S


class Member(ABC):
    """A forecaster of the `Forecaster` protocol that learns on the soft-log scale.

    Subclasses learn a season from `Z` and continue it; the base class keeps the history, appends
    updates, and gives quantiles by the spread of its training residuals (a rough guess: the
    conformal calibration replaces it as soon as verified errors exist).
    """

    name: str
    refit_days: int = 1
    """Days between refits in a backtest: cheap members refit daily."""

    def fit(self, Y: FloatArray, calendar: CalendarFeatures, mask: BoolArray) -> Self:
        """Learn from ``Y[T, N]``; see `forecaster.domain.ports.Forecaster`.

        Raises
        ------
        ModelError
            When there is nothing to learn from.
        """
        if Y.ndim != 2 or Y.shape != mask.shape or not mask.any():
            raise ModelError(f"{self.name}: nothing to learn from in {Y.shape}", "check the mask")
        self.calendar = calendar
        self.slots_per_day = max(round(DAY_S / calendar.slot_s), 1)
        self.scale = scale_of(Y, mask)
        self.Z = np.where(mask, to_z(np.where(mask, Y, 0.0), self.scale), np.nan)
        self._learn()
        self.spread = self._spread()
        return self

    def update(self, y: FloatArray) -> Self:
        """Append one slot, float64[N]; NaN is missing."""
        self._check_fitted()
        self.Z = np.vstack([self.Z, to_z(y, self.scale)[None, :]])
        return self

    def quantiles(self, horizons: Sequence[int], levels: Sequence[float]) -> FloatArray:
        """Demand `h` slots ahead, float64[H, N, Q], in the unit of ``Y``."""
        path = self.path(horizons)
        steps = ndtri(np.asarray(levels, dtype=np.float64))
        z = path[:, :, None] + self.spread[None, :, None] * steps[None, None, :]
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
        return np.asarray(np.where(np.isfinite(z), z, self._level()[None, :]))

    @abstractmethod
    def _learn(self) -> None:
        """Learn the season from ``self.Z[T, N]`` (NaN = missing)."""

    @abstractmethod
    def _continue(self, slots: npt.NDArray[np.int64]) -> FloatArray:
        """Return z at future slots (0 = first training slot), float64[H, N]."""

    def _level(self) -> FloatArray:
        """Mean z: what to say where the season is silent."""
        seen = np.isfinite(self.Z)
        return np.asarray(np.where(seen, self.Z, 0.0).sum(0) / np.maximum(seen.sum(0), 1))

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


def fill_season(Z: FloatArray, season: int) -> FloatArray:
    """Fill missing values with the same slot of the nearest season that has one, else the mean.

    Examples
    --------
    >>> fill_season(np.array([[1.0], [2.0], [np.nan], [4.0]]), 2).ravel()
    array([1., 2., 1., 4.])
    """
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
    seen = np.isfinite(Z)
    mean = np.where(seen, Z, 0.0).sum(0) / np.maximum(seen.sum(0), 1)
    return np.where(np.isfinite(filled), filled, mean[None, :])
