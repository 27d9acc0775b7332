"""The schedule on the installation's clock: cron minutes of a compressed tide, each fired once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from forecaster.clock import SystemClock
from forecaster.daemon.schedule import ClockTrigger, cron, every
from forecaster.domain.errors import SettingError

REAL = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MIDNIGHT_S = 1_767_571_200.0  # 2026-01-05 00:00 UTC, a Monday


class Hand:
    """Real and compressed time, moved together by hand."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self.real = REAL

    def now_s(self) -> float:
        return MIDNIGHT_S + (self.real - REAL).total_seconds() * self.speed


def virtual(now_s: float) -> str:
    return datetime.fromtimestamp(round(now_s), UTC).strftime("%d %H:%M:%S")


def test_a_cron_line_fires_at_its_minute_of_the_compressed_day() -> None:
    clock = Hand(speed=240.0)
    trigger = cron("17 3 * * *", clock)
    due, fired = trigger.get_next_fire_time(None, clock.real), []
    for _ in range(3):
        clock.real = due
        fired.append(virtual(clock.now_s()))
        # the scheduler asks twice: what else was due, and what comes next
        again = trigger.get_next_fire_time(due, clock.real)
        assert again > clock.real
        due = trigger.get_next_fire_time(due, clock.real)
        assert abs(due - again) < timedelta(milliseconds=1)
    assert fired == ["05 03:17:00", "06 03:17:00", "07 03:17:00"]
    assert due - clock.real == pytest.approx(timedelta(seconds=360), abs=timedelta(milliseconds=1))


@pytest.mark.parametrize("early_ms", [0.01, 1.0, 200.0])
def test_a_timer_that_comes_early_does_not_fire_twice(early_ms: float) -> None:
    clock = Hand(speed=240.0)
    trigger = cron("17 3 * * *", clock)
    due = trigger.get_next_fire_time(None, clock.real)
    clock.real = due - timedelta(milliseconds=early_ms)  # the two clocks drifted apart
    following = trigger.get_next_fire_time(due, due)
    assert following - due > timedelta(seconds=359)


def test_after_a_long_sleep_the_next_moment_is_in_the_future() -> None:
    clock = Hand(speed=240.0)
    trigger = cron("17 3 * * *", clock)
    due = trigger.get_next_fire_time(None, clock.real)
    clock.real = due + timedelta(minutes=61)  # ten compressed days
    following = trigger.get_next_fire_time(due, clock.real)
    assert timedelta(0) < following - clock.real <= timedelta(seconds=360)


def test_at_the_speed_of_the_clock_cron_is_cron() -> None:
    assert not isinstance(cron("17 3 * * *", SystemClock()), ClockTrigger)


@pytest.mark.parametrize("line", ["61 3 * * *", "17 3 * *", "every night", "17 3 * * someday", ""])
def test_what_is_no_cron_line_is_refused_with_a_remedy(line: str) -> None:
    with pytest.raises(SettingError, match=r"retrain\.cron = .* is refused.*17 3 \* \* \*"):
        cron(line, SystemClock())


@pytest.mark.parametrize(
    ("seconds", "speed", "real_s"), [(60.0, 1.0, 60.0), (300.0, 240.0, 1.25), (10.0, 240.0, 0.2)]
)
def test_an_interval_is_compressed_but_never_below_a_fifth_of_a_second(
    seconds: float, speed: float, real_s: float
) -> None:
    trigger = every(seconds, Hand(speed))
    first = trigger.get_next_fire_time(None, REAL)
    second = trigger.get_next_fire_time(first, first)
    assert (second - first).total_seconds() == pytest.approx(real_s)
