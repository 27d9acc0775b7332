"""Stories: what happens to the traffic, and what the forecast is expected to say then."""

import numpy as np
import pytest

from forecaster.domain.errors import TooLittleHistoryError
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.calendar import Calendar
from forecaster.seasonal.origins import Champions
from forecaster.seasonal.training import train_together

SLOT_S, DAY = 1800.0, 48
LEVELS = (0.05, 0.5, 0.95)
JANUARY_S = 1_736_121_600.0  # Monday 2025-01-06 00:00 UTC
MARCH_10_S = 1_741_564_800.0  # Monday; Berlin loses an hour on Sunday the 30th
OCTOBER_6_S = 1_759_708_800.0  # Monday; Berlin gains one on Sunday the 26th


def trained(
    y: np.ndarray, start_s: float = JANUARY_S, spec: CalendarSpec | None = None
) -> Champions:
    Y = y if y.ndim == 2 else y[:, None]
    return Champions(
        train_together(Y, Calendar(start_s, SLOT_S, spec or CalendarSpec()), ("pool",))
    )


def tomorrow(y: np.ndarray, **where: object) -> np.ndarray:
    """Median and band of the day after `y`, float64[48, 3]."""
    return trained(y, **where).quantiles(DAY, LEVELS)[:, :, 0]  # type: ignore[arg-type]


def by_the_clock(start_s: float, slots: int, zone: str) -> np.ndarray:
    """Traffic of people who live by their own clock: nothing at night, a peak from nine to five."""
    hour = Calendar(start_s, SLOT_S, CalendarSpec(zone)).minute_of_day(np.arange(slots)) / 60
    return 20 + 180.0 * ((hour >= 9) & (hour < 17))


def noisy(rate: np.ndarray, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).poisson(rate).astype(float)


def wape(actual: np.ndarray, said: np.ndarray) -> float:
    return float(np.abs(actual - said).sum() / actual.sum())


@pytest.mark.parametrize("start_s", [MARCH_10_S, OCTOBER_6_S], ids=["23 hours", "25 hours"])
def test_the_clock_changes_and_the_season_goes_with_the_people(start_s: float) -> None:
    # three weeks up to the Monday after the change: that Monday is the first working day of it
    slots = 21 * DAY
    berlin = CalendarSpec("Europe/Berlin")
    rate = by_the_clock(start_s, slots + DAY, "Europe/Berlin")
    y, truth = noisy(rate[:slots]), rate[slots:]
    knowing = wape(truth, tomorrow(y, start_s=start_s, spec=berlin)[:, 1])
    unaware = wape(truth, tomorrow(y, start_s=start_s)[:, 1])
    assert knowing < 0.12
    assert knowing < 0.7 * unaware


def test_new_year_is_a_holiday_and_not_a_wednesday() -> None:
    start_s = 1_733_702_400.0  # Monday 2024-12-09: New Year's Day 2025 is its 24th day
    slots = 23 * DAY
    day_of = np.arange(slots + DAY) // DAY
    quiet = (day_of % 7 == 6) | np.isin(day_of, (16, 17, 23))  # Sundays, Christmas, New Year
    shape = by_the_clock(start_s, slots + DAY, "UTC")
    rate = np.where(quiet, 20.0, shape)
    said = tomorrow(noisy(rate[:slots]), start_s=start_s, spec=CalendarSpec("UTC", "DE"))[:, 1]
    assert said[18:34].mean() < 60  # an ordinary Wednesday has 200


def test_a_day_long_gap_is_no_quiet_day() -> None:
    rate = by_the_clock(JANUARY_S, 15 * DAY, "UTC")
    y = noisy(rate[: 14 * DAY])
    gap = y.copy()
    gap[12 * DAY : 13 * DAY] = np.nan
    said = tomorrow(gap)
    assert np.isfinite(said).all()
    assert (
        wape(rate[14 * DAY :], said[:, 1]) < 1.3 * wape(rate[14 * DAY :], tomorrow(y)[:, 1]) + 0.03
    )


def test_a_log_that_ends_in_silence_still_forecasts_the_day() -> None:
    rate = by_the_clock(JANUARY_S, 15 * DAY, "UTC")
    y = noisy(rate[: 14 * DAY])
    y[-6:] = np.nan
    said = tomorrow(y)[:, 1]
    assert said[18:34].min() > 120  # the working day comes, whatever the last three hours were


def test_a_step_to_three_times_is_followed_within_hours() -> None:
    rate = 100 + 60 * np.sin(2 * np.pi * np.arange(16 * DAY) / DAY)
    rate[14 * DAY :] *= 3
    y = noisy(rate)
    live = trained(y[: 14 * DAY])
    errors = []
    for hours in (0, 2, 6):
        known = 14 * DAY + 2 * hours
        if hours:
            live.advance(y[14 * DAY : known, None] if hours == 2 else y[14 * DAY + 4 : known, None])
        said = live.quantiles(4, LEVELS)[:, 1, 0]
        errors.append(wape(rate[known : known + 4], said))
    assert errors[0] > 0.5
    assert errors[1] < 0.35
    assert errors[2] < 0.25


def test_nights_without_a_request_stay_empty_and_mornings_come_back() -> None:
    hour = np.arange(15 * DAY) % DAY / 2
    rate = np.where((hour >= 8) & (hour < 20), 80.0, 0.0)
    said = tomorrow(noisy(rate[: 14 * DAY]))
    assert said[:14, 1].max() < 4
    assert said[18:38, 1].min() > 60
    assert (said >= 0).all()


def test_a_constant_is_forecast_as_itself() -> None:
    said = tomorrow(np.full(10 * DAY, 42.0))
    np.testing.assert_allclose(said[:, 1], 42.0, rtol=0.01)
    assert (said[:, 2] < 42 * 1.1).all()


def test_nothing_but_zeros_is_zero() -> None:
    np.testing.assert_allclose(tomorrow(np.zeros(10 * DAY))[:, 1], 0.0, atol=1e-6)


def test_nothing_but_missing_forecasts_nothing_and_does_not_fail_its_neighbours() -> None:
    fine = noisy(by_the_clock(JANUARY_S, 10 * DAY, "UTC"))
    both = np.column_stack([np.full(10 * DAY, np.nan), fine])
    said = trained(both).quantiles(DAY, LEVELS)
    assert np.isfinite(said).all()
    alone = tomorrow(fine)
    np.testing.assert_allclose(said[:, 1, 1], alone[:, 1], rtol=0.02, atol=0.5)


@pytest.mark.parametrize("slots", [1, DAY])
def test_a_service_born_yesterday_is_told_how_much_is_missing(slots: int) -> None:
    with pytest.raises(TooLittleHistoryError, match=r"72\.0 h are needed"):
        trained(np.full(slots, 5.0))


def test_half_hourly_jobs_are_not_smoothed_away() -> None:
    slots = np.arange(15 * 288)
    rate = np.where(slots % 6 == 0, 300.0, 100.0)
    Y = noisy(rate[: 14 * 288])[:, None]
    calendar = Calendar(JANUARY_S, 300.0, CalendarSpec())
    said = Champions(train_together(Y, calendar, ("pool",))).quantiles(288, (0.5,))[:, 0, 0]
    spike, between = said[::6].mean(), np.delete(said, np.s_[::6]).mean()
    assert spike > 2 * between


def test_more_history_narrows_the_band() -> None:
    rate = 100 + 60 * np.sin(2 * np.pi * np.arange(28 * DAY) / DAY)
    y = noisy(rate, seed=3)
    widths = [
        float((found[:, 2] - found[:, 0]).mean())
        for found in (tomorrow(y[: 4 * DAY]), tomorrow(y[: 28 * DAY]))
    ]
    assert widths[1] < widths[0]
