"""Champions at work: fitted on what is known, corrected by what they missed, advanced slot by slot."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import numpy as np

from forecaster.domain.demand import DemandSeries, FloatArray
from forecaster.domain.forecast import QuantileForecast
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal import registry
from forecaster.seasonal.backtest import Verified
from forecaster.seasonal.bank import HALF_LIVES_S, advance_bank
from forecaster.seasonal.calendar import Calendar
from forecaster.seasonal.champion import Calibrated, Calibration, corrected_quantiles
from forecaster.seasonal.events import Lifts, learn_lifts, lifted
from forecaster.seasonal.hygiene import cleaned
from forecaster.seasonal.member import Member, SlotArray, slots_per_day
from forecaster.seasonal.softlog import from_z, to_z


class LiveFleet:
    """One champion on N series of one grid: fitted once a day, corrected with every slot.

    Parameters
    ----------
    calibration : Calibration
        The champion's correction and quantiles on each series.
    member : Member
        The champion, fitted to all that is known.
    bank : float64[5, N]
        Residual bank of what is known.
    now_z : float64[N] or None
        What the season said of the last known slot before it was known.
    lifts : Lifts
        What known events do to the season.
    """

    def __init__(
        self,
        calibration: Calibration,
        member: Member,
        bank: FloatArray,
        now_z: FloatArray | None,
        lifts: Lifts,
    ) -> None:
        self.calibration = calibration
        self.bank, self.now_z, self.lifts = bank, now_z, lifts
        self.day = member.slots_per_day
        self._serve(member)

    @classmethod
    def start(cls, calibration: Calibration, Y: FloatArray, calendar: Calendar) -> LiveFleet:
        """Fit the champion to a history, float64[T, N] (NaN = missing), slot 0 the calendar's first.

        The season as it stood a day ago gives honest errors of the last day.
        """
        Z = to_z(Y, calibration.scale)
        day = slots_per_day(calendar.slot_s)
        split = Z.shape[0] - day if Z.shape[0] >= 3 * day else Z.shape[0]
        taught = cleaned(Z[:split], Y[:split], calendar)
        member = registry.make(calibration.member).fit_z(taught, calibration.scale, calendar)
        bank = np.zeros((len(HALF_LIVES_S), Y.shape[1]))
        fleet = cls(calibration, member, bank, None, learn_lifts(Y, calendar))
        fleet._advance_z(Z[split:])
        return fleet

    @classmethod
    def after(cls, calibration: Calibration, verified: Verified) -> LiveFleet:
        """Straight from the backtest that calibrated it."""
        return cls(
            calibration, verified.member, verified.bank[-1], verified.base_z[0, -1], verified.lifts
        )

    @property
    def slots(self) -> int:
        """Known slots."""
        return int(self.fitted_at + self.known)

    def advance(self, Y: FloatArray) -> Self:
        """Append slots, float64[k, N] (NaN = missing); a season older than a day is refitted."""
        self._advance_z(to_z(Y, self.calibration.scale))
        return self

    def observed(self, y: FloatArray) -> LiveFleet:
        """What it would be with one slot more, float64[N], that corrects without teaching the season."""
        then = copy.copy(self)
        season = self._season(np.array([self.known + 1]))[0]
        missed = to_z(y, self.calibration.scale) - season
        then.bank = advance_bank(self.bank, missed, self.calibration.slot_s)
        then.now_z, then.known = season, self.known + 1
        return then

    def quantiles(self, slots: int, levels: Sequence[float]) -> FloatArray:
        """Demand of the next `slots` slots, float64[slots, Q, N]."""
        horizons = np.arange(1, slots + 1)
        base_z = self._season(horizons + self.known)
        return corrected_quantiles(
            self.calibration,
            base_z,
            base_z[0] if self.now_z is None else self.now_z,
            self.bank,
            horizons.astype(float),
            np.asarray(levels, dtype=float),
            self.lifts.at(self.slots - 1 + horizons)[1],
        )

    def _serve(self, member: Member) -> None:
        self.member = member
        self.fitted_at, self.known, self.taught = member.Z.shape[0], 0, 0
        self._path = np.empty((0, member.Z.shape[1]))

    def _advance_z(self, Z: FloatArray) -> None:
        done = 0
        while done < Z.shape[0]:  # at most a day at a time: then the season is learnt anew
            block = Z[done : done + self.day - self.known]
            season = self._season(np.arange(1, block.shape[0] + 1) + self.known)
            for missed in block - season:
                self.bank = advance_bank(self.bank, missed, self.calibration.slot_s)
            self.now_z = season[-1]
            self.member.update_z(block)
            self.known += block.shape[0]
            self.taught += block.shape[0]
            done += block.shape[0]
            if self.known >= self.day:
                known = self.member.Z
                Y = from_z(known, self.calibration.scale)
                self.member.extend_z(cleaned(known, Y, self.lifts.calendar))
                self._serve(self.member)

    def _season(self, ahead: SlotArray) -> FloatArray:
        """Season `ahead` slots after the last fit, events included, cached until it is refitted."""
        if ahead.max() > self._path.shape[0]:
            steps = max(int(ahead.max()), 2 * self.day) - self.taught
            fresh = self.member.path(range(1, steps + 1))
            slots = self.fitted_at + self.taught + np.arange(steps)
            fresh = lifted(fresh, self.lifts.at(slots)[0])
            self._path = np.concatenate([self._path[: self.taught], fresh])
        return np.asarray(self._path[ahead - 1])


class LiveForecaster:
    """One service's champion.

    Parameters
    ----------
    calibrated : Calibrated
        The champion's correction and quantiles.
    series : DemandSeries
        History on the champion's grid.
    spec : CalendarSpec
        Calendar of the service.
    name : str
        What its forecasts are said to be made by; empty: the member.
    """

    def __init__(
        self, calibrated: Calibrated, series: DemandSeries, spec: CalendarSpec, name: str = ""
    ) -> None:
        self.calibrated = calibrated
        self.name = name or calibrated.member
        self.service = series.service
        self.start_s = series.start_s
        self.slot_s = series.slot_s
        self.fleet = LiveFleet.start(
            Calibration.join([calibrated]),
            series.arrivals.astype(np.float64)[:, None],
            Calendar(series.start_s, series.slot_s, spec),
        )

    @property
    def end_s(self) -> float:
        """End of the last known slot, epoch seconds."""
        return self.start_s + self.slot_s * self.fleet.slots

    def advance(self, arrivals: FloatArray) -> Self:
        """Append slots (NaN = missing); a season older than a day is refitted."""
        self.fleet.advance(np.asarray(arrivals, dtype=np.float64)[:, None])
        return self

    def observe(self, arrivals: float) -> None:
        """Correct by one slot more (NaN = missing), without teaching it to the season."""
        self.fleet = self.fleet.observed(np.array([arrivals]))

    def forecast(self, slots: int, levels: Sequence[float], made_s: float) -> QuantileForecast:
        """Quantiles of the arrival rate of the next `slots` slots."""
        counts = self.fleet.quantiles(slots, levels)[:, :, 0]
        return QuantileForecast(
            service=self.service,
            start_s=self.end_s,
            slot_s=self.slot_s,
            levels=tuple(levels),
            arrival_rate_rps=counts / self.slot_s,
            offered_load_erl=np.full_like(counts, np.nan),
            made_s=made_s,
            model=self.name,
        )
