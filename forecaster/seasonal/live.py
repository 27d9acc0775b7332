"""A champion at work: fitted on what is known, corrected by what it missed, advanced slot by slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import DemandSeries, FloatArray
from forecaster.domain.forecast import QuantileForecast
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal import registry
from forecaster.seasonal.calendar import Calendar
from forecaster.seasonal.champion import Calibrated, corrected_quantiles
from forecaster.seasonal.correction import CLIP, HALF_LIVES_S
from forecaster.seasonal.softlog import from_z, to_z

DAY_S = 86_400


class LiveForecaster:
    """One service's champion, fitted once a day and corrected with every slot.

    Parameters
    ----------
    calibrated : Calibrated
        The champion's correction and quantiles.
    series : DemandSeries
        History on the champion's grid.
    spec : CalendarSpec
        Calendar of the service.
    """

    def __init__(self, calibrated: Calibrated, series: DemandSeries, spec: CalendarSpec) -> None:
        self.calibrated = calibrated
        self.service = series.service
        self.start_s = series.start_s
        self.slot_s = series.slot_s
        self.calendar = Calendar(series.start_s, series.slot_s, spec)
        self.day = max(round(DAY_S / series.slot_s), 1)
        self.bank = np.zeros(len(HALF_LIVES_S))
        self.y = series.arrivals.astype(np.float64)
        # the season as it stood a day ago gives honest errors of the last day
        split = self.y.size - self.day
        if split >= 2 * self.day:
            known, self.y = self.y, self.y[:split]
            self._fit()
            self.advance(known[split:])
        self._fit()

    @property
    def end_s(self) -> float:
        """End of the last known slot, epoch seconds."""
        return self.start_s + self.slot_s * self.y.size

    def advance(self, arrivals: FloatArray) -> Self:
        """Append slots (NaN = missing); a season older than a day is refitted."""
        for value in arrivals:
            self.observe(float(value))
            self.member.update(np.array([value]))
            if self.y.size - self.fitted_at >= self.day:
                self._fit()
        return self

    def observe(self, arrivals: float) -> None:
        """Correct by one slot more (NaN = missing), without teaching it to the season."""
        self._verify(arrivals)
        self.y = np.append(self.y, arrivals)

    def forecast(self, slots: int, levels: Sequence[float], made_s: float) -> QuantileForecast:
        """Quantiles of the arrival rate of the next `slots` slots."""
        horizons = np.arange(1, slots + 1)
        known = self.y.size - self.fitted_at
        base_z = to_z(self._season(horizons + known), np.array(self.calibrated.scale))
        # right after a fit the season at the origin is that of its first slot to come
        now = self._season(np.array([max(known, 1)]))
        base_now_z = float(to_z(now, np.array(self.calibrated.scale))[0])
        counts = corrected_quantiles(
            self.calibrated,
            base_z,
            base_now_z,
            self.bank,
            horizons.astype(float),
            np.asarray(levels, dtype=float),
        )
        return QuantileForecast(
            service=self.service,
            start_s=self.end_s,
            slot_s=self.slot_s,
            levels=tuple(levels),
            arrival_rate_rps=counts / self.slot_s,
            offered_load_erl=np.full_like(counts, np.nan),
            made_s=made_s,
            model=self.calibrated.member,
        )

    def _fit(self) -> None:
        mask = np.isfinite(self.y)[:, None]
        filled = np.where(mask, self.y[:, None], 0.0)
        self.member = registry.make(self.calibrated.member).fit(filled, self.calendar, mask)
        self.fitted_at = self.y.size
        self._path = np.empty(0)

    def _season(self, ahead: npt.NDArray[np.int64]) -> FloatArray:
        """Season `ahead` slots after the last fit, cached: a fitted season does not change."""
        if ahead.max() > self._path.size:
            known = self.y.size - self.fitted_at
            steps = max(int(ahead.max()), 2 * self.day) - known
            path = self.member.path(range(1, steps + 1))
            fresh = from_z(path, self.member.scale)[:, 0]
            self._path = np.concatenate([self._path[:known], fresh])
        return np.asarray(self._path[ahead - 1])

    def _verify(self, value: float) -> None:
        if not np.isfinite(value):
            return
        scale = np.array(self.calibrated.scale)
        base = self._season(np.array([self.y.size - self.fitted_at + 1]))
        residual = np.clip(to_z(np.array(value), scale) - to_z(base, scale), -CLIP, CLIP)
        gains = np.array([1.0 if h == 0 else 1 - 0.5 ** (self.slot_s / h) for h in HALF_LIVES_S])
        self.bank = self.bank + gains * (residual - self.bank)
