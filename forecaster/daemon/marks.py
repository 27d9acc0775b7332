"""Marks on the picture: events that were announced, and public holidays by name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from forecaster.domain.errors import SettingError
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.calendar import public_holidays, zone
from forecaster.seasonal.events import known_events


def marks(spec: CalendarSpec, from_s: float, to_s: float) -> list[dict[str, Any]]:
    """What makes a stretch of time unlike others, by its start; times in epoch seconds.

    Examples
    --------
    >>> spec = CalendarSpec("Europe/Berlin", "DE")
    >>> [(each["kind"], each["name"]) for each in marks(spec, 1_767_196_800.0, 1_767_283_200.0)]
    [('holiday', "New Year's Day")]
    """
    found = [_mark("event", *each) for each in known_events(spec, from_s, to_s)]
    return sorted(found + _holidays(spec, from_s, to_s), key=lambda each: float(each["start_s"]))


def _holidays(spec: CalendarSpec, from_s: float, to_s: float) -> list[dict[str, Any]]:
    if not spec.country:
        return []
    try:
        return _named_days(spec, from_s, to_s)
    except SettingError:
        return []  # no such country: training refuses it aloud, the picture of the load stays


def _named_days(spec: CalendarSpec, from_s: float, to_s: float) -> list[dict[str, Any]]:
    where = zone(spec.timezone)
    day = datetime.fromtimestamp(from_s, UTC).astimezone(where).date()
    last = datetime.fromtimestamp(to_s, UTC).astimezone(where).date()
    found = []
    while day <= last:
        name = public_holidays(spec.country, day.year).get(day)
        if name is not None:
            following = day + timedelta(days=1)
            edges = [datetime(d.year, d.month, d.day, tzinfo=where) for d in (day, following)]
            found.append(_mark("holiday", name, *(edge.timestamp() for edge in edges)))
        day += timedelta(days=1)
    return found


def _mark(kind: str, name: str, start_s: float, end_s: float) -> dict[str, Any]:
    return {"kind": kind, "name": name, "start_s": start_s, "end_s": end_s}
