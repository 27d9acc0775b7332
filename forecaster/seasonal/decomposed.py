"""MSTL and structural models (statsmodels): decompositions into a level, a day and a week.

For half-hours and hours, where their cost is a matter of a second a series; on finer grids they take
minutes and say no more (research/forecasting.md, section 6).
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from forecaster.domain.demand import FloatArray
from forecaster.domain.errors import ModelError
from forecaster.seasonal.member import HALF_HOUR_S, Member, SlotArray, fill_season


class _Alone(Member):
    """A member that learns one series after the other and continues each with a path."""

    refit_days = 7
    finest_slot_s = HALF_HOUR_S

    def _learn(self) -> None:
        if 2 * self.slots_per_day >= self.Z.shape[0]:
            raise ModelError(f"{self.name} needs more than two days", "ingest more history")
        self.learnt_at = self.Z.shape[0]
        filled = fill_season(self.Z, self.slots_per_day).astype(np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.fits = [self._fit_one(z) for z in filled.T]

    def _continue(self, slots: SlotArray) -> FloatArray:
        ahead = slots - self.learnt_at
        steps = int(ahead.max()) + 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.column_stack([self._path_of(fit, steps)[ahead] for fit in self.fits])

    @abstractmethod
    def _fit_one(self, z: FloatArray) -> object:
        """Learn one whole series, float64[T]."""

    @abstractmethod
    def _path_of(self, fit: object, steps: int) -> FloatArray:
        """The next `steps` slots of one series."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """A series as a level and the last turn of each season."""

    level: float
    seasons: list[FloatArray]


class Mstl(_Alone):
    """Day and week by repeated STL; the seasons repeat, the trend's last day stays.

    References
    ----------
    K. Bandara, R. J. Hyndman and C. Bergmeir, MSTL, 2021 (arXiv 2107.13462).
    """

    name = "mstl"

    def _fit_one(self, z: FloatArray) -> _Parts:
        # heavy: imported when it is used
        from statsmodels.tsa.seasonal import MSTL

        day = self.slots_per_day
        periods = [p for p in (day, 7 * day) if 2 * p < z.size]
        found = MSTL(z, periods=periods, iterate=1, stl_kwargs={"robust": False}).fit()
        seasons = np.asarray(found.seasonal).reshape(z.size, -1)
        level = float(np.asarray(found.trend)[-1] + np.asarray(found.resid)[-day:].mean() / 2)
        return _Parts(level, [seasons[-period:, n] for n, period in enumerate(periods)])

    def _path_of(self, fit: object, steps: int) -> FloatArray:
        assert isinstance(fit, _Parts)
        return np.asarray(fit.level + sum(np.resize(season, steps) for season in fit.seasons))


class Structural(_Alone):
    """Unobserved components: a local level and trigonometric seasons, by maximum likelihood.

    References
    ----------
    A. C. Harvey, Forecasting, Structural Time Series Models and the Kalman Filter, 1989, ch. 2.
    """

    name = "structural"
    harmonics = 4
    memory_days = 28

    def _fit_one(self, z: FloatArray) -> object:
        # heavy: imported when it is used
        from statsmodels.tsa.statespace.structural import UnobservedComponents

        day = self.slots_per_day
        recent = z[-self.memory_days * day :]
        periods = [{"period": day, "harmonics": min(self.harmonics, day // 2)}]
        if recent.size > 14 * day:
            periods.append({"period": 7 * day, "harmonics": 3})
        model = UnobservedComponents(
            recent, "local level", freq_seasonal=periods,
            stochastic_freq_seasonal=[False] * len(periods), autoregressive=1,
        )  # fmt: skip
        return model.fit(disp=False, maxiter=25, method="lbfgs")

    def _path_of(self, fit: object, steps: int) -> FloatArray:
        return np.asarray(fit.forecast(steps))  # type: ignore[attr-defined]
