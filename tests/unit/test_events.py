"""Known events: windows, recurrence, what the last ones taught, and how wide the band is."""

from datetime import UTC, datetime

import numpy as np
import pytest

from forecaster.domain.anomaly import Judgement
from forecaster.domain.service import CalendarSpec, Event, Every
from forecaster.seasonal.calendar import Calendar
from forecaster.seasonal.events import event_slots, learn_lifts, occurrences
from forecaster.seasonal.hygiene import left_out
from forecaster.seasonal.live import LiveFleet
from forecaster.seasonal.training import train_together

SLOT_S, DAY = 1800.0, 48
START_S = 1_736_121_600.0  # Monday 2025-01-06 00:00 UTC
LEVELS = (0.05, 0.5, 0.95, 0.99)
NOON = 24


def tide(days: int, seed: int = 1) -> np.ndarray:
    rate = 100 + 60 * np.sin(2 * np.pi * np.arange(days * DAY) / DAY)
    return np.random.default_rng(seed).poisson(rate).astype(float)


def sale(day: int, **given: object) -> Event:
    start_s = START_S + (day * DAY + NOON) * SLOT_S
    return Event("sale", start_s, start_s + 6 * SLOT_S, **given)  # type: ignore[arg-type]


def said(y: np.ndarray, *events: Event) -> np.ndarray:
    """The day after `y`, float64[48, 4], as production starts a champion."""
    calendar = Calendar(START_S, SLOT_S, CalendarSpec(events=events))
    Y = y[:, None]
    calibration = train_together(Y, calendar, ("pool",)).calibrations["pool"]
    return LiveFleet.start(calibration, Y, calendar).quantiles(DAY, LEVELS)[:, :, 0]


@pytest.fixture(scope="module")
def plain() -> np.ndarray:
    return said(tide(21))


def test_an_event_to_come_raises_forecast_and_width_by_the_configured_factor(
    plain: np.ndarray,
) -> None:
    told = said(tide(21), sale(21, factor=3.0))
    during, other = slice(NOON, NOON + 6), slice(0, NOON - 2)
    np.testing.assert_allclose(told[during, 1] / plain[during, 1], 3.0, rtol=0.1)
    wide, usual = (np.log(q[during, 2] / q[during, 0]) for q in (told, plain))
    assert (wide > 1.5 * usual).all()
    np.testing.assert_allclose(told[other], plain[other], rtol=0.01)


def test_past_occurrences_teach_the_factor_and_narrow_the_band() -> None:
    y, events = tide(21), [sale(day, factor=1.2) for day in (4, 9, 15)]
    for event in events:
        at = round((event.start_s - START_S) / SLOT_S)
        y[at : at + 6] *= 4
    one = said(y, *events[2:], sale(21, factor=1.2))
    three = said(y, *events, sale(21, factor=1.2))
    during = slice(NOON, NOON + 6)
    usual = 100 + 60 * np.sin(2 * np.pi * np.arange(NOON, NOON + 6) / DAY)
    for found in (one, three):
        assert 3.0 < (found[during, 1] / usual).mean() < 4.4
    spread = [np.log(found[during, 2] / found[during, 0]).mean() for found in (one, three)]
    assert spread[1] < spread[0]


def test_events_do_not_teach_the_season(plain: np.ndarray) -> None:
    y, event = tide(21), sale(20, before_s=3600.0, after_s=3600.0)
    at = 20 * DAY + NOON
    y[at - 2 : at + 8] *= 8
    calendar = Calendar(START_S, SLOT_S, CalendarSpec(events=(event,)))
    assert event_slots(calendar, np.arange(y.size)).sum() == 10
    np.testing.assert_allclose(said(y, event)[:, 1], plain[:, 1], rtol=0.12)


def test_the_time_around_has_factors_of_its_own() -> None:
    y = tide(21)
    events = [sale(day, before_s=2 * 3600.0, after_s=2 * 3600.0) for day in (5, 12)]
    for day in (5, 12):
        at = day * DAY + NOON
        y[at - 4 : at] *= 2
        y[at : at + 6] *= 5
        y[at + 6 : at + 10] *= 0.5
    calendar = Calendar(START_S, SLOT_S, CalendarSpec(events=tuple(events)))
    factors = np.exp(learn_lifts(y[:, None], calendar).log_factor[0, :, 0])
    np.testing.assert_allclose(factors, [2, 5, 0.5], rtol=0.3)


def test_a_campaign_recurs_by_the_local_clock() -> None:
    start = datetime(2025, 3, 24, 9, tzinfo=UTC).timestamp()  # 10:00 in Berlin, before the change
    weekly = Event("mail", start, start + 3600, every=Every.WEEK)
    turns = list(occurrences(weekly, "Europe/Berlin", start, start + 15 * 86400))
    assert [begin - start for begin, _ in turns] == [0, 7 * 86400 - 3600, 14 * 86400 - 3600]
    last = datetime(2025, 1, 31, tzinfo=UTC).timestamp()
    monthly = Event("payday", last, last + 3600, every=Every.MONTH, until_s=last + 130 * 86400)
    months = [
        datetime.fromtimestamp(begin, UTC).month
        for begin, _ in occurrences(monthly, "UTC", 0.0, last + 400 * 86400)
    ]
    assert months == [1, 3, 5]  # a month without a 31st has none; the last begins before the end


def test_a_recurring_campaign_is_foreseen_with_what_it_did() -> None:
    y = tide(21)
    monday = sale(0, every=Every.WEEK, factor=1.1)
    for day in (0, 7, 14):
        y[day * DAY + NOON : day * DAY + NOON + 6] *= 3
    found = said(y, monday)
    usual = 100 + 60 * np.sin(2 * np.pi * np.arange(NOON, NOON + 6) / DAY)
    np.testing.assert_allclose(found[NOON : NOON + 6, 1] / usual, 3.0, rtol=0.25)


def test_a_judgement_travels_with_the_calendar() -> None:
    y = tide(21)
    span = (START_S + 10 * DAY * SLOT_S, START_S + 11 * DAY * SLOT_S)
    spec = CalendarSpec(judged=(Judgement(*span, keep=False),))
    mask = left_out(y[:, None], Calendar(START_S, SLOT_S, spec))[:, 0]
    assert mask[10 * DAY : 11 * DAY].all()
    assert mask.sum() == DAY


def test_the_first_holiday_of_a_country_is_not_known_well() -> None:
    start_s = 1_733_702_400.0  # Monday 2024-12-09: Christmas Day is its 17th day
    y = tide(16)
    quiet, told = (
        LiveFleet.start(trained.calibrations["pool"], y[:, None], calendar).quantiles(DAY, LEVELS)
        for calendar in (
            Calendar(start_s, SLOT_S, CalendarSpec("UTC", country)) for country in ("", "DE")
        )
        for trained in (train_together(y[:, None], calendar, ("pool",)),)
    )
    assert (told[:, 3] / told[:, 1]).mean() > 1.15 * (quiet[:, 3] / quiet[:, 1]).mean()
