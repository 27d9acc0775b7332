"""Units of others: nobody reports single requests, and the budget steers all the same."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from actuators.dry_run import DryRunActuator
from forecaster.daemon.gauges import kept
from forecaster.demand.counted import Counted, counted_sums
from forecaster.domain.demand import SLOT_S, RequestBatch
from forecaster.domain.service import Pin
from forecaster.store import Store
from tests.integration.daemon_world import (
    CHAT,
    LEAD_S,
    START_S,
    HandClock,
    World,
    between,
    sample,
    settings,
    world,
)

MORNING_H = 8.0


class CountedWorld(World):
    """Counters tell how many requests came, and nothing of each."""

    def tell(self, came: RequestBatch, late: float, since_s: float) -> None:
        del late
        minutes = round((self.clock.now - since_s) / SLOT_S)
        at = ((came.arrival_s - since_s) // SLOT_S).astype(int)

        def sums(weights: object = None) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
            return np.bincount(at, weights, minlength=minutes).astype(float)

        starts = int(since_s) + SLOT_S * np.arange(minutes)
        counted = Counted(starts, sums(), sums(came.prompt_tokens), sums(came.output_tokens))
        span = (int(since_s), int(self.clock.now))
        self.store.meters.put(CHAT, "test", span, counted_sums(counted))


@pytest.fixture
def counted(learned_store: Store, tmp_path: Path) -> CountedWorld:
    clock = HandClock(START_S + MORNING_H * 3600)
    tier = DryRunActuator(clock, [CHAT], lead_time_s=LEAD_S, drain_time_s=30.0)
    found = CountedWorld(learned_store, tmp_path, clock, tier, settings())
    found.tell(between(sample(), START_S, clock.now), 0.0, START_S)
    return found


def test_slots_that_closed_are_reckoned_by_the_table_and_not_shown_as_kept(
    counted: CountedWorld,
) -> None:
    for _ in counted.steps(24):
        pass
    budget = counted.pilot.planner.budget
    (spent,) = budget.reckoned.values()
    came = len(between(sample(), START_S + MORNING_H * 3600, counted.clock.now))
    assert (
        0.5 * came < spent.requests < came
    )  # the first lead has nobody ready, the last slots are open
    assert 0 < spent.outside < 0.05 * spent.requests
    assert not any(day.requests for day in budget.days.values())
    assert math.isnan(kept(budget)[0])


def test_too_few_units_spend_the_budget_and_a_restart_knows(counted: CountedWorld) -> None:
    for _ in counted.steps(6):
        pass
    now_s = counted.clock.now
    counted.store.set_pin(CHAT, Pin(1, now_s, now_s + 86_400.0, "a test holds one unit"))
    for _ in counted.steps(18):
        pass
    assert counted.fleet().ready == 1
    planner = counted.pilot.planner
    factor = planner.budget.load_factor(planner.feed.day_requests)
    assert factor > 1.05
    counted.restart()
    again = counted.pilot.planner.budget
    assert again.reckoned == planner.budget.reckoned


def test_a_tier_that_reports_is_believed_and_nothing_is_reckoned(
    learned_store: Store, tmp_path: Path
) -> None:
    served = world(learned_store, tmp_path, at_h=MORNING_H)
    for _ in served.steps(24):
        pass
    budget = served.pilot.planner.budget
    assert sum(day.requests for day in budget.days.values()) > 0
    assert not any(day.requests for day in budget.reckoned.values())
