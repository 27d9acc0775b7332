"""Local time of slots: minutes of the day, day types, holidays; 23- and 25-hour days included."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import holidays
import numpy as np
import numpy.typing as npt
import pandas as pd

from forecaster.domain.demand import FloatArray
from forecaster.domain.errors import SettingError
from forecaster.domain.service import CalendarSpec

HOLIDAY = 7
"""Day type of a public holiday or an own event."""

SlotArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Calendar:
    """Calendar features of a regular grid.

    Attributes
    ----------
    start_s : float
        Start of slot 0, epoch seconds.
    slot_s : float
        Slot length, seconds.
    spec : CalendarSpec
        Time zone, country and own events.
    """

    start_s: float
    slot_s: float
    spec: CalendarSpec

    def epoch_s(self, slots: SlotArray) -> FloatArray:
        """Start of the slots, epoch seconds."""
        return np.asarray(self.start_s + self.slot_s * slots, dtype=np.float64)

    def local(self, slots: SlotArray) -> pd.DatetimeIndex:
        """Local wall-clock time of the slots, without a zone."""
        stamps = pd.to_datetime(self.epoch_s(slots), unit="s", utc=True)
        return stamps.tz_convert(zone(self.spec.timezone)).tz_localize(None)

    def minute_of_day(self, slots: SlotArray) -> FloatArray:
        """Local minutes since midnight, 0 <= m < 1440."""
        local = self.local(slots)
        minutes = local.hour * 60.0 + local.minute + local.second / 60.0
        return np.asarray(minutes, dtype=np.float64)

    def day_type(self, slots: SlotArray) -> SlotArray:
        """0..6 = Monday..Sunday, 7 = public holiday or own event."""
        local = self.local(slots)
        kind = np.asarray(local.dayofweek, dtype=np.int64)
        dates = local.normalize()
        free = _holiday_dates(self.spec.country, set(local.year))
        if free:
            kind = np.where(dates.isin(free), HOLIDAY, kind)
        epoch = self.epoch_s(slots)
        for event in self.spec.events:
            kind = np.where((epoch >= event.start_s) & (epoch < event.end_s), HOLIDAY, kind)
        return np.asarray(kind, dtype=np.int64)


def zone(name: str) -> ZoneInfo:
    """Return the IANA time zone `name`.

    Raises
    ------
    SettingError
        When there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise SettingError(
            "timezone", name, "an IANA time zone", "write it as in Europe/Berlin"
        ) from error


def _holiday_dates(country: str, years: set[int]) -> list[pd.Timestamp]:
    if not country:
        return []
    try:
        found = holidays.country_holidays(country, years=years)
    except NotImplementedError as error:
        raise SettingError(
            "country", country, "an ISO 3166 code that the holidays library knows", "for example DE"
        ) from error
    return [pd.Timestamp(day) for day in found]
