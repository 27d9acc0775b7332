"""What the table says of slots that closed, where nobody reports single requests."""

from __future__ import annotations

import math

import numpy as np
import pytest

from forecaster.daemon.error_budget import DAY_S, ErrorBudget, Spent
from forecaster.daemon.hindsight import MIXED, Closed, Expected, Hindsight, reckoned, seen_again
from forecaster.domain.demand import FloatArray, IntArray
from forecaster.domain.reported import NONE, Reported
from forecaster.domain.service import Slo


class TenEach:
    """A unit carries ten requests/s; what is above is outside."""

    def violation_share(self, units: IntArray, rate_rps: FloatArray) -> FloatArray:
        return np.clip(1 - 10 * np.asarray(units) / rate_rps, 0, 1)


def watched(*ready: int, tick_s: float = 30.0) -> Hindsight:
    """One note a tick from 0 on, and two requests/s expected outside."""
    seen = Hindsight(tick_s)
    for i, units in enumerate(ready):
        seen.note(i * tick_s, units, 2.0)
    return seen


def judged(closed: Closed, seen: Hindsight, rate_rps: float = 20.0) -> Spent:
    """All slots, as the table sees them."""
    slots = seen_again(closed, seen, NONE)
    return sum((reckoned(TenEach(), slot, rate_rps) for slot in slots), Spent())


def test_each_part_of_a_slot_is_judged_with_the_units_of_its_time() -> None:
    closed = Closed(0.0, 60.0, np.array([1200.0, 1200.0]))
    # 20 requests/s: one unit leaves half of half a minute outside, two carry all
    spent = judged(closed, watched(1, 2, 2, 2, 2))
    assert spent == Spent(outside=300.0, requests=2400.0, foreseen=240.0)


@pytest.mark.parametrize("load", [math.nan, 1200.0])
def test_what_is_not_known_or_was_not_seen_is_left_out(load: float) -> None:
    closed = Closed(0.0, 60.0, np.array([load, 1200.0]))
    seen = watched(1, 1, 1) if math.isnan(load) else Hindsight(30.0)
    assert judged(closed, seen) == Spent()


def test_what_a_model_server_reports_goes_before_the_table() -> None:
    closed = Closed(0.0, 60.0, np.array([1200.0, 1200.0, 1200.0]))
    starts = np.array([0, 120])
    said = Reported(starts, np.array([1100.0, 1000.0]), np.array([11.0, 500.0]))
    first, second, third = seen_again(closed, watched(1, 2, 2, 2, 2), said)
    assert (first.counted, first.outside, first.ready) == (1100.0, 11.0, MIXED)
    assert (second.counted, second.ready) == (0.0, 2)
    assert first.measured(0.5) == Spent(11.0, 1100.0, 60.0)
    # nobody knows what was ready: what it took is no sign of care or of its want
    assert third.measured(0.5) == Spent(500.0, 1000.0, 500.0)


def test_a_pause_hides_what_was_ready_meanwhile() -> None:
    seen = watched(2, 2, 2)
    seen.note(600.0, 2, 0.0)
    seen.note(630.0, 3, 0.0)
    seen.note(660.0, 3, 0.0)
    assert [(each.from_s, each.to_s) for each in seen.during(0.0, 60.0)] == [(0.0, 60.0)]
    assert seen.during(30.0, 120.0) == ()
    assert [each.ready for each in seen.during(600.0, 660.0)] == [2, 3]
    seen.forget(600.0)
    assert seen.during(0.0, 60.0) == ()
    assert len(seen.during(600.0, 660.0)) == 2


def test_what_is_expected_goes_on_after_the_plan_ends() -> None:
    expected = Expected(100.0, 60.0, np.array([[9.0, 1.0], [9.0, 2.0]]))
    assert [expected.outside_rps(1, at_s) for at_s in (0.0, 110.0, 170.0, 9e9)] == [1, 1, 2, 2]
    assert expected.outside_rps(7, 110.0) == 1.0


def test_a_reckoned_budget_steers_and_is_not_what_was_kept() -> None:
    budget = ErrorBudget(Slo(ttft_p99_s=1.0))
    budget.reckon(Spent(outside=3000.0, requests=100_000.0, foreseen=900.0), 0.0)
    assert budget.load_factor(1e5) > 1.2
    assert not budget.days
    careful = ErrorBudget(Slo(ttft_p99_s=1.0))
    careful.reckon(Spent(outside=100.0, requests=100_000.0, foreseen=900.0), 0.0)
    assert careful.load_factor(1e5) < 0.7
    careful.reckon(Spent(), 7 * DAY_S)
    assert careful.load_factor(1e5) == 1.0
