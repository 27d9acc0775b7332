"""Times that a service names itself: known events and schedule windows."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Self
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from forecaster.config.table import Table
from forecaster.domain.service import Event, Every, Window

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
CLOCK = r"^([01]\d|2[0-3]):[0-5]\d$"


class EventSettings(Table):
    """Something known that makes demand unlike other days: a launch, a campaign, a sale."""

    name: str = Field(
        min_length=1, description="events of one name are the same thing: they teach one another"
    )
    start: datetime = Field(description="ISO 8601; without an offset by the service's own clock")
    end: datetime = Field(description="after the start, ISO 8601 as well")
    before_s: float = Field(0.0, ge=0, le=14 * 86400, description="already unusual before, seconds")
    after_s: float = Field(0.0, ge=0, le=14 * 86400, description="still unusual after, seconds")
    factor: float = Field(
        1.5, gt=0, le=1000, description="times the usual demand, until an occurrence was seen"
    )
    every: Every = Field(Every.ONCE, description="once, week, month or year, by the local clock")
    until: datetime | None = Field(None, description="the last occurrence begins before")

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if (self.start.tzinfo is None) != (self.end.tzinfo is None):
            raise ValueError("start and end both have an offset from UTC, or neither")
        if self.end <= self.start:
            raise ValueError(f"end = {self.end} is not after start = {self.start}")
        return self

    def event(self, timezone: str) -> Event:
        """The domain value, its times read by the clock of `timezone`."""
        start_s, end_s = (_epoch_s(moment, timezone) for moment in (self.start, self.end))
        until_s = math.inf if self.until is None else _epoch_s(self.until, timezone)
        return Event(
            self.name, start_s, end_s, self.before_s, self.after_s, self.factor, self.every, until_s
        )


def _epoch_s(moment: datetime, timezone: str) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(timezone))).timestamp()


class WindowSettings(Table):
    """Hours of the week with a floor or a ceiling of their own, in the service's time zone."""

    days: str = Field("daily", description="daily, or days and ranges: mon-fri, sat,sun")
    start: str = Field(pattern=CLOCK, description="HH:MM")
    end: str = Field(pattern=CLOCK, description="HH:MM; not after the start: on the next day")
    min_units: int | None = Field(None, ge=0, le=4096, description="never fewer meanwhile")
    max_units: int | None = Field(None, ge=0, le=4096, description="never more meanwhile")

    @field_validator("days")
    @classmethod
    def _known_days(cls, text: str) -> str:
        weekdays(text)  # its ValueError is the refusal
        return text

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_units is None and self.max_units is None:
            raise ValueError("a window sets min_units, max_units or both")
        low, high = self.min_units, self.max_units
        if low is not None and high is not None and low > high:
            raise ValueError(f"min_units = {low} is above max_units = {high}")
        return self

    def window(self) -> Window:
        """The domain value."""
        start, end = (int(text[:2]) * 60 + int(text[3:]) for text in (self.start, self.end))
        return Window(weekdays(self.days), start, end, self.min_units, self.max_units)


def weekdays(text: str) -> tuple[int, ...]:
    """Days of the week, 0 = Monday, of ``daily``, ``mon-fri`` or ``sat,sun``.

    Examples
    --------
    >>> weekdays("fri-mon,wed")
    (0, 2, 4, 5, 6)

    Raises
    ------
    ValueError
        For anything else.
    """
    if text == "daily":
        return tuple(range(7))
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError("no days, write them as in mon-fri, or sat,sun, or daily")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found |= {(begin + i) % 7 for i in range((end - begin) % 7 + 1)}
    return tuple(sorted(found))
