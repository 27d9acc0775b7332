"""Local time of slots: minutes of the day, day types, holidays; 23- and 25-hour days included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt

from forecaster.domain.demand import FloatArray
from forecaster.domain.errors import SettingError
from forecaster.domain.service import CalendarSpec

HOLIDAY = 7
"""Day type of a public holiday."""

DAY_S = 86_400
QUARTER_S = 900
"""Offsets change on quarters of an hour."""
EPOCH_WEEKDAY = 3
"""The first of January 1970 was a Thursday."""

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

    def local(self, slots: SlotArray) -> npt.NDArray[np.datetime64]:
        """Local wall-clock time of the slots, datetime64[s]."""
        epoch = np.floor(self.epoch_s(slots)).astype(np.int64)
        quarters, index = np.unique(epoch // QUARTER_S, return_inverse=True)
        offsets = utc_offsets_s(quarters * QUARTER_S, self.spec.timezone)
        return np.asarray((epoch + offsets[index]).astype("datetime64[s]"))

    def minute_of_day(self, slots: SlotArray) -> FloatArray:
        """Local minutes since midnight, 0 <= m < 1440."""
        return np.asarray(self.local(slots).astype(np.int64) % DAY_S / 60.0)

    def day_type(self, slots: SlotArray) -> SlotArray:
        """0..6 = Monday..Sunday, 7 = public holiday."""
        days = self.local(slots).astype(np.int64) // DAY_S
        kind = (days + EPOCH_WEEKDAY) % 7
        if self.spec.country:
            kind = np.where(np.isin(days, _holidays(self.spec.country, days)), HOLIDAY, kind)
        return np.asarray(kind, dtype=np.int64)


def utc_offsets_s(epoch_s: SlotArray, timezone: str) -> SlotArray:
    """Seconds to add to UTC for local time at each moment.

    Examples
    --------
    >>> utc_offsets_s(np.array([0, 15_552_000]), "Europe/Berlin").tolist()  # January, July 1970
    [3600, 3600]
    """
    if timezone == "UTC":
        return np.zeros(epoch_s.size, dtype=np.int64)
    where = zone(timezone)
    offsets = [
        datetime.fromtimestamp(int(t), where).utcoffset() or timedelta() for t in epoch_s.tolist()
    ]
    return np.array([offset.total_seconds() for offset in offsets], dtype=np.int64)


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


@cache
def public_holidays(country: str, year: int) -> Mapping[date, str]:
    """Names of a country's public holidays, in English where the library has them.

    Raises
    ------
    SettingError
        When it does not know the country.
    """
    import holidays  # heavy: imported when a country is set

    try:
        return dict(holidays.country_holidays(country, years=year, language="en_US").items())
    except NotImplementedError as error:
        raise SettingError(
            "country", country, "an ISO 3166 code that the holidays library knows", "for example DE"
        ) from error


def _holidays(country: str, days: SlotArray) -> SlotArray:
    """Days since the epoch that are public holidays, of the years that `days` touch."""
    years = {(date(1970, 1, 1) + timedelta(int(day))).year for day in np.unique(days)}
    found = [day for year in sorted(years) for day in public_holidays(country, year)]
    return np.array([(day - date(1970, 1, 1)).days for day in found], dtype=np.int64)
