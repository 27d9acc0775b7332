"""Windows and pins: hours of the week in the service's own zone, through the night and DST."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from forecaster.domain.plan import Reason
from forecaster.domain.service import Limits, Pin, Window
from forecaster.planning.bounds import bounds
from forecaster.planning.policy import Policy

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


def floor(policy: Policy, *moments: str) -> list[int]:
    return bounds(policy, np.array([at(text) for text in moments])).least.tolist()


def test_a_night_shift_belongs_to_the_day_on_which_it_begins() -> None:
    friday = Window((4,), 22 * 60, 6 * 60, min_units=3)
    policy = Policy(Limits(1, 8), timezone="Europe/Berlin", windows=(friday,))
    moments = ("2026-03-06 21:59", "2026-03-06 22:00", "2026-03-07 05:59", "2026-03-07 06:00")
    assert floor(policy, *moments) == [1, 3, 3, 1]
    assert floor(policy, "2026-03-06 05:00", "2026-03-07 23:00") == [1, 1]


def test_hours_are_those_of_the_clock_on_the_wall_before_and_after_dst() -> None:
    office = Window(tuple(range(7)), 8 * 60, 18 * 60, min_units=2)
    policy = Policy(Limits(1, 8), timezone="Europe/Berlin", windows=(office,))
    for day in ("2026-03-28", "2026-03-29", "2026-10-24", "2026-10-25"):
        moments = (f"{day} 07:59", f"{day} 08:00", f"{day} 17:59", f"{day} 18:00")
        assert floor(policy, *moments) == [1, 2, 2, 1], day


def test_windows_narrow_the_limits_and_floors_win() -> None:
    every = tuple(range(7))
    low, high = Window(every, 0, 0, max_units=3), Window(every, 0, 0, min_units=5)
    found = bounds(Policy(Limits(2, 4), windows=(low,)), np.zeros(1))
    assert (found.least[0], found.most[0], found.reason[0]) == (2, 3, Reason.WINDOW)
    found = bounds(Policy(Limits(1, 8), windows=(low, high)), np.zeros(1))
    assert (found.least[0], found.most[0]) == (5, 5)
    found = bounds(Policy(Limits(1, 4), windows=(high,)), np.zeros(1))
    assert (found.least[0], found.most[0]) == (4, 4)


@pytest.mark.parametrize(("units", "held"), [(3, 4), (9, 8), (0, 2)])
def test_a_pin_is_bought_in_steps_inside_the_limits(units: int, held: int) -> None:
    policy = Policy(Limits(2, 8, 2), pin=Pin(units, 0.0, 100.0))
    found = bounds(policy, np.array([0.0, 99.0, 100.0]))
    assert found.least.tolist() == [held, held, 2]
    assert found.most.tolist() == [held, held, 8]
    assert found.reason == (Reason.PIN, Reason.PIN, None)
