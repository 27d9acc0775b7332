import numpy as np
import pytest

from forecaster.domain.errors import SettingError
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.calendar import HOLIDAY, Calendar

MARCH_30_2025 = 1_743_292_800.0  # Europe/Berlin loses an hour at 01:00 UTC
OCTOBER_26_2025 = 1_761_429_600.0  # 22:00 UTC the day before; gains one at 01:00 UTC


def hours(start_s: float, zone: str, count: int = 26) -> np.ndarray:
    return Calendar(start_s, 3600, CalendarSpec(zone)).minute_of_day(np.arange(count)) / 60


def test_a_day_of_23_hours() -> None:
    local = hours(MARCH_30_2025, "Europe/Berlin", 4)
    assert local.tolist() == [1, 3, 4, 5]


def test_a_day_of_25_hours() -> None:
    local = hours(OCTOBER_26_2025, "Europe/Berlin", 5)
    assert local.tolist() == [0, 1, 2, 2, 3]


def test_half_hour_zones() -> None:
    assert hours(0.0, "Asia/Kolkata", 1).tolist() == [5.5]


def test_days_and_holidays() -> None:
    christmas = 1_735_084_800.0  # 2024-12-25 00:00 UTC, a Wednesday
    days = Calendar(christmas - 86400, 86400, CalendarSpec("UTC", "DE"))
    assert days.day_type(np.arange(4)).tolist() == [1, HOLIDAY, HOLIDAY, 4]


@pytest.mark.parametrize(
    ("spec", "key"),
    [(CalendarSpec("Mars/Olympus"), "timezone"), (CalendarSpec("UTC", "XX"), "country")],
)
def test_unknown_places_are_refused(spec: CalendarSpec, key: str) -> None:
    with pytest.raises(SettingError, match=key):
        Calendar(0.0, 3600, spec).day_type(np.arange(3))
