"""What deserves an alert, and when it may be said."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.domain.alert import Kind
from forecaster.planning.alarms import Minute, Vitals, due_s, symptoms

NOW_S = 1_760_000_000.0
BERLIN = "Europe/Berlin"


def hours(count: int, outside: int) -> list[Minute]:
    return [Minute(NOW_S - 60.0 * n, 100, outside) for n in range(1, 60 * count + 1)]


WELL = Vitals("chat", hours(6, 0), 0.01, data_age_s=60.0, stale_s=3600.0)


def test_nothing_is_said_of_a_service_that_is_well() -> None:
    assert symptoms(WELL, NOW_S) == []
    assert symptoms(replace(WELL, minutes=[]), NOW_S) == []
    slack = replace(WELL, minutes=hours(6, 5))  # five times the allowed rate: not yet
    assert symptoms(slack, NOW_S) == []


def test_a_burn_must_matter_and_last() -> None:
    (fast,) = symptoms(replace(WELL, minutes=hours(6, 20)), NOW_S)
    assert (fast.kind, fast.urgent) == (Kind.SLO_BURN, True)
    (slow,) = symptoms(replace(WELL, minutes=hours(6, 8)), NOW_S)
    assert (slow.kind, slow.urgent) == (Kind.SLO_BURN, False)
    over = [m if m.start_s < NOW_S - 1800 else replace(m, outside=0) for m in hours(6, 20)]
    assert symptoms(replace(WELL, minutes=over), NOW_S) == [], (
        "it is over: the short windows say so"
    )
    few = [replace(m, requests=1, outside=1) for m in hours(1, 0)[:30]]
    assert symptoms(replace(WELL, minutes=few), NOW_S) == []


@pytest.mark.parametrize(
    ("change", "kind", "urgent"),
    [
        ({"denied_ago_s": 60.0}, Kind.CAPACITY_DENIED, True),
        ({"believed": 0.6}, Kind.DRIFT, False),
        ({"data_age_s": 4000.0}, Kind.STALE_DATA, False),
        ({"failures": ["no sizing table"]}, Kind.STALE_DATA, False),
        ({"gates": ["3 units failed lately"]}, Kind.GATE, False),
    ],
)
def test_each_limit_has_its_alert(change: dict[str, object], kind: Kind, urgent: bool) -> None:
    (found,) = symptoms(replace(WELL, **change), NOW_S)
    assert (found.kind, found.urgent, found.key) == (kind, urgent, f"{kind.value}:chat")


@given(
    st.floats(1_700_000_000, 1_900_000_000),
    st.tuples(st.integers(0, 1439), st.integers(0, 1439)).filter(lambda q: q[0] != q[1]),
)
def test_quiet_hours_end_at_their_end(now_s: float, quiet: tuple[int, int]) -> None:
    due = due_s(False, now_s, quiet, BERLIN)
    here = datetime.fromtimestamp(now_s, ZoneInfo(BERLIN))
    minute = here.hour * 60 + here.minute
    start, end = quiet
    inside = start <= minute < end if start < end else minute >= start or minute < end
    assert due_s(True, now_s, quiet, BERLIN) == now_s
    if not inside:
        assert due == now_s
    else:
        over = datetime.fromtimestamp(due, ZoneInfo(BERLIN))
        assert now_s < due <= now_s + 25 * 3600
        assert over.hour * 60 + over.minute == end
