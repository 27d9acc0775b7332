"""What is marked on the picture: own events, weekly ones, and holidays on the service's own days."""

from __future__ import annotations

from datetime import UTC, datetime

from forecaster.daemon.marks import marks
from forecaster.domain.service import CalendarSpec, Event, Every

DAY_S = 86_400.0


def at(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()  # type: ignore[misc,arg-type]


def test_events_and_holidays_by_their_start() -> None:
    start_s = at(2026, 12, 1, 9)
    sale = Event("sale", start_s, start_s + 3600, every=Every.WEEK)
    spec = CalendarSpec("Europe/Berlin", "DE", (sale,))
    found = marks(spec, at(2026, 12, 22), at(2026, 12, 27))
    assert [(each["kind"], each["name"]) for each in found] == [
        ("event", "sale"), ("holiday", "Christmas Day"), ("holiday", "Second Day of Christmas"),
    ]  # fmt: skip
    christmas = found[1]
    assert christmas["start_s"] == at(2026, 12, 24, 23)  # midnight in Berlin
    assert christmas["end_s"] - christmas["start_s"] == DAY_S
    assert found[0]["end_s"] - found[0]["start_s"] == 3600


def test_a_holiday_has_the_hours_of_its_day() -> None:
    """Easter Sunday of 2027 is the day on which Berlin's clocks go forward."""
    spec = CalendarSpec("Europe/Berlin", "BR")
    assert marks(CalendarSpec("UTC"), 0.0, 10 * DAY_S) == []
    assert marks(CalendarSpec("UTC", "XX"), 0.0, 10 * DAY_S) == []
    easter = [
        m for m in marks(spec, at(2027, 3, 28, 6), at(2027, 3, 28, 7)) if "Easter" in m["name"]
    ]
    assert [m["end_s"] - m["start_s"] for m in easter] in ([], [23 * 3600.0])
