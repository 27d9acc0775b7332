"""APScheduler on the installation's clock: intervals and cron lines of a compressed tide."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from forecaster.config.settings import Settings
from forecaster.domain.errors import SettingError
from forecaster.domain.ports import Clock

HOUSEKEEPING_S = 3600.0
BOOKS_S = 3600.0
ALARMS_S = 30.0
LEAD_REAL_S = 2.0
"""Between two beats of the leader, and two looks of those who stand by, real seconds."""
JITTER = 0.1


class ClockTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler ships no types
    """Fires when the installation's clock reaches what the inner trigger says.

    Parameters
    ----------
    inner : BaseTrigger
        Trigger in the installation's time.
    clock : Clock
        The installation's clock.
    """

    def __init__(self, inner: BaseTrigger, clock: Clock) -> None:
        self.inner = inner
        self.clock = clock
        self.promised: tuple[datetime, datetime] | None = None
        self.fired: datetime | None = None

    def get_next_fire_time(self, previous_fire_time: Any, now: datetime) -> datetime | None:
        """Translate the inner trigger's next moment into real time.

        The real clock may come a moment early: what has fired does not fire again.
        """
        if self.promised is not None and previous_fire_time == self.promised[0]:
            self.fired = self.promised[1]
        virtual_s = self.clock.now_s()
        after = datetime.fromtimestamp(virtual_s, UTC)
        if self.fired is not None:
            after = max(after, self.fired + timedelta(microseconds=1))
        following = self.inner.get_next_fire_time(None, after)
        if following is None:
            return None
        delay_s = max(following.timestamp() - virtual_s, 0.0) / self.clock.speed
        due = now + timedelta(seconds=delay_s)
        self.promised = (due, following)
        return due


def every(
    seconds: float, clock: Clock, least_real_s: float = 0.2, jitter_share: float = 0.0
) -> BaseTrigger:
    """An interval of clock seconds, but never faster than `least_real_s` real seconds.

    Parameters
    ----------
    jitter_share : float
        Runs are moved at random by up to this share of the interval: many daemons on one database
        do not knock at once.
    """
    real_s = max(seconds / clock.speed, least_real_s)
    return IntervalTrigger(seconds=real_s, jitter=real_s * jitter_share or None)


def cron(line: str, clock: Clock) -> BaseTrigger:
    """A five-field cron line in UTC on the installation's clock.

    Raises
    ------
    SettingError
        For a line that is no cron line.
    """
    try:
        inner = CronTrigger.from_crontab(line, timezone=UTC)
    except ValueError as error:
        raise SettingError(
            "retrain.cron", line, f"no cron line: {error}", "write five fields, as in 17 3 * * *"
        ) from error
    return inner if clock.speed == 1.0 else ClockTrigger(inner, clock)


def triggers(settings: Settings, clock: Clock) -> dict[str, BaseTrigger]:
    """When each job of the daemon runs.

    Raises
    ------
    SettingError
        For a cron line that is none.
    """
    planner = settings.planner
    return {
        "lead": every(LEAD_REAL_S * clock.speed, clock),
        "tick": every(planner.tick_s, clock),
        "replan": every(planner.replan_s, clock),
        "retrain": cron(settings.retrain.cron, clock),
        "books": every(BOOKS_S, clock, 5.0, JITTER),
        "alarms": every(ALARMS_S, clock, 1.0, JITTER),
        "housekeeping": every(HOUSEKEEPING_S, clock, 30.0, JITTER),
    }
