"""Units of others: nobody reports single requests, and the budget steers all the same."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from actuators.dry_run import DryRunActuator
from forecaster.config.prometheus import MetricsSettings
from forecaster.daemon.gauges import kept
from forecaster.demand.counted import Counted, counted_sums
from forecaster.domain.alert import Kind
from forecaster.domain.demand import SLOT_S, RequestBatch
from forecaster.domain.reported import Reported
from forecaster.domain.service import Mode, Pin
from forecaster.domain.word import Word
from forecaster.ingest import ingest_file
from forecaster.store import Store
from tests.integration.daemon_world import (
    CHAT,
    LEAD_S,
    START_S,
    HandClock,
    World,
    between,
    lateness,
    sample,
    settings,
    world,
)

MORNING_H = 8.0


SLOWER = 0.8
"""What units of the world truly carry of what their table says."""


class CountedWorld(World):
    """Counters tell how many requests came, and nothing of each; where `reports`, how many were late."""

    reports = False

    def tell(self, came: RequestBatch, late: float, since_s: float) -> None:
        minutes = round((self.clock.now - since_s) / SLOT_S)
        at = ((came.arrival_s - since_s) // SLOT_S).astype(int)

        def sums(weights: object = None) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
            return np.bincount(at, weights, minlength=minutes).astype(float)

        starts = int(since_s) + SLOT_S * np.arange(minutes)
        counted = Counted(starts, sums(), sums(came.prompt_tokens), sums(came.output_tokens))
        span = (int(since_s), int(self.clock.now))
        if self.reports:
            slow = counted.arrivals * late
            self.store.meters.report(CHAT, span, Reported(starts, counted.arrivals, slow))
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


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.APPROVE])
def test_units_that_nobody_ordered_are_no_judge_of_the_plan(
    counted: CountedWorld, mode: Mode
) -> None:
    (chat,) = counted.settings.service
    watched = chat.model_copy(update={"mode": mode})
    counted.settings = counted.settings.model_copy(update={"service": (watched,)})
    counted.restart()
    for _ in counted.steps(12):
        pass
    assert counted.fleet().ready == 0
    planner = counted.pilot.planner
    assert planner.budget.load_factor(planner.feed.day_requests) == 1.0
    assert math.isnan(kept(planner.budget)[0])


def test_what_others_kept_is_shown_and_does_not_steer(learned_store: Store, tmp_path: Path) -> None:
    """A tier of ours that logs: nobody obeys, everybody is late."""
    seen = world(learned_store, tmp_path, at_h=MORNING_H, mode=Mode.OBSERVE)
    seen.lateness = lambda ready, came, seconds: 0.5
    for _ in seen.steps(12):
        pass
    planner = seen.pilot.planner
    assert kept(planner.budget)[0] == pytest.approx(0.5, abs=0.02)
    assert planner.budget.load_factor(planner.feed.day_requests) == 1.0
    seen.restart()
    assert kept(seen.pilot.planner.budget)[0] == pytest.approx(0.5, abs=0.02)
    seen.pilot.gate.mode = Mode.ACT
    seen.store.switch(seen.clock.now, CHAT, "mode", Mode.ACT.value, Word("test"))
    for _ in seen.steps(6):
        pass
    planner = seen.pilot.planner
    assert planner.budget.load_factor(planner.feed.day_requests) > 1.0


def burns_when_half_is_late(seen: World) -> None:
    seen.lateness = lambda ready, came, seconds: 0.5
    for _ in seen.steps(14):
        pass
    seen.daemon.look_for_alarms()
    assert Kind.SLO_BURN in {each.kind for each in seen.store.alerts.newest(open_only=True)}


def test_what_the_model_server_reports_is_what_was_kept_and_teaches_what_units_carry(
    counted: CountedWorld,
) -> None:
    (chat,) = counted.settings.service
    metered = chat.model_copy(update={"metrics": MetricsSettings(preset="vllm")})
    counted.settings = counted.settings.model_copy(update={"service": (metered,)})
    counted.restart()
    counted.reports = True
    counted.lateness = lambda ready, came, seconds: lateness(ready, came, seconds * SLOWER)
    for _ in counted.steps(48):
        pass
    planner = counted.pilot.planner
    assert planner.carrying.belief.factor == pytest.approx(SLOWER, abs=0.06)
    (spent,) = planner.budget.days.values()
    attainment, left = kept(planner.budget)
    assert attainment == 1 - spent.outside / spent.requests
    assert left < 1
    assert sum(day.requests for day in planner.budget.reckoned.values()) < 0.2 * spent.requests
    counted.daemon.close_books()
    entries = counted.store.books.entries(CHAT, START_S, counted.clock.now)
    assert sum(entry.requests for entry in entries) == pytest.approx(spent.requests, rel=0.3)
    assert sum(entry.outside for entry in entries) > 0
    burns_when_half_is_late(counted)


class LoggedWorld(World):
    """A gateway writes a line for each request when it ends, and what became of it."""

    def tell(self, came: RequestBatch, late: float, since_s: float) -> None:
        del since_s
        path = self.home / "gateway.jsonl"
        with path.open("a") as log:
            for n, (at_s, prompt, output) in enumerate(
                zip(came.arrival_s, came.prompt_tokens, came.output_tokens, strict=True), 1
            ):
                slow = int(n * late) > int((n - 1) * late)
                line = {
                    "ts": float(at_s), "service": CHAT, "prompt_tokens": int(prompt),
                    "output_tokens": int(output), "ttft_ms": 9000 if slow else 100,
                    "duration_ms": 9500 if slow else 400, "status": 200,
                }  # fmt: skip
                log.write(json.dumps(line) + "\n")
        ingest_file(path, self.store)


def test_what_a_log_tells_is_what_was_kept_and_teaches_what_units_carry(
    learned_store: Store, tmp_path: Path
) -> None:
    clock = HandClock(START_S + MORNING_H * 3600)
    tier = DryRunActuator(clock, [CHAT], lead_time_s=LEAD_S, drain_time_s=30.0)
    logged = LoggedWorld(learned_store, tmp_path, clock, tier, settings())
    logged.tell(between(sample(), START_S, clock.now), 0.0, START_S)
    logged.lateness = lambda ready, came, seconds: lateness(ready, came, seconds * SLOWER)
    for _ in logged.steps(48):
        pass
    planner = logged.pilot.planner
    assert planner.carrying.belief.factor == pytest.approx(SLOWER, abs=0.06)
    (spent,) = planner.budget.days.values()
    came = len(between(sample(), START_S + MORNING_H * 3600, clock.now))
    assert 0.5 * came < spent.requests < came
    assert spent.outside > 0
    logged.daemon.close_books()
    entries = logged.store.books.entries(CHAT, START_S, clock.now)
    assert sum(entry.requests for entry in entries) == pytest.approx(spent.requests, rel=0.3)
    burns_when_half_is_late(logged)


def test_a_tier_that_reports_is_believed_and_nothing_is_reckoned(
    learned_store: Store, tmp_path: Path
) -> None:
    served = world(learned_store, tmp_path, at_h=MORNING_H)
    for _ in served.steps(24):
        pass
    budget = served.pilot.planner.budget
    assert sum(day.requests for day in budget.days.values()) > 0
    assert not any(day.requests for day in budget.reckoned.values())
