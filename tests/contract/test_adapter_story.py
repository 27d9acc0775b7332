"""One day's plan and its disasters through every adapter: the same unit counts, no flapping."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from forecaster.domain.errors import ActuatorUnavailableError, CapacityDeniedError
from forecaster.domain.lifecycle import WARMING_STATES
from forecaster.domain.plan import Binding, Reason, SlotPlan, TideTable, Verb
from forecaster.domain.service import Limits
from forecaster.domain.units import Fleet
from forecaster.planning.decide import decide
from forecaster.planning.policy import Policy
from tests.contract.rigs import GPUS, LEAD_S, MAKERS, START_S, Rig

MINUTES = 300
LOW, HIGH = 2, 10
DENIED, SLOW, VANISHED = range(40, 60), range(169, 172), 150
AWAY, PAST, CONFLICT = range(180, 190), range(205, 208), 230
DENIED_KEPT_MIN = 15


def wanted(at_s: float) -> int:
    """Two tides in five hours."""
    turn = 2 * math.pi * (at_s - START_S) / (MINUTES * 30)
    return round(LOW + (HIGH - LOW) * (1 - math.cos(turn)) / 2)


def plan(now_s: float) -> TideTable:
    first = now_s // 60 * 60
    slots = tuple(
        SlotPlan(s, 1.0, 1.0, 1.0, wanted(s), wanted(s), 0.0, Reason.LOAD, Binding.TTFT)
        for s in (first + 60 * index for index in range(60))
    )
    return TideTable("chat", now_s, 60.0, LEAD_S, now_s, HIGH, 100.0, slots)


class Day:
    """What happened, minute by minute."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.supply: list[int | None] = []
        self.orders: list[tuple[int, Verb]] = []
        self.errors: dict[int, str] = {}
        self._denied = -DENIED_KEPT_MIN
        for minute in range(MINUTES):
            self._disaster(minute)
            self._tick(minute)
            rig.advance(60.0)

    def _disaster(self, minute: int) -> None:
        rig = self.rig
        for span, switch in (
            (DENIED, rig.deny),
            (SLOW, rig.slow),
            (AWAY, rig.away),
            (PAST, rig.past),
        ):
            if minute in (span.start, span.stop):
                switch(minute == span.start)
        if minute == VANISHED:
            rig.vanish()
        if minute == CONFLICT:
            rig.conflict()

    def _tick(self, minute: int) -> None:
        """As a pilot ticks."""
        try:
            fleet = self.rig.actuator.observe("chat")
        except ActuatorUnavailableError as error:
            self.errors[minute] = str(error)
            self.supply.append(None)
            return
        now_s = self.rig.now_s()
        denied = minute - self._denied < DENIED_KEPT_MIN
        policy = Policy(Limits(LOW, GPUS), lead_time_s=LEAD_S, denied=denied)
        decision = decide(plan(now_s), fleet, policy, now_s)
        if decision.verb is not Verb.HOLD:
            self.orders.append((minute, decision.verb))
            act = (
                self.rig.actuator.prewarm
                if decision.verb is Verb.PREWARM
                else self.rig.actuator.drain
            )
            try:
                act("chat", decision.units, reason="story", order_key=f"{minute}")
            except CapacityDeniedError as error:
                self._denied, self.errors[minute] = minute, str(error)
        fleet = self.rig.actuator.observe("chat")
        self.supply.append(fleet.ready + fleet.warming - slow(fleet))


def slow(fleet: Fleet) -> int:
    return sum(
        unit.state in WARMING_STATES and fleet.observed_s - unit.ordered_s > 3 * LEAD_S
        for unit in fleet.units
    )


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Day]]:
    with ExitStack() as stack:
        yield {
            name: Day(make(tmp_path_factory.mktemp("story"), stack, START_S))
            for name, make in MAKERS.items()
        }


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "dry run"])
def test_every_adapter_has_the_same_units_at_every_minute(days: dict[str, Day], name: str) -> None:
    reference, day = days["dry run"], days[name]
    assert day.supply == reference.supply
    ours = [order for order in reference.orders if order[0] != VANISHED]
    theirs = [
        order for order in day.orders if order[0] != VANISHED
    ]  # Kubernetes replaces it itself
    assert theirs == ours
    assert sorted(day.errors) == sorted(reference.errors)


@pytest.mark.parametrize("name", list(MAKERS))
def test_disasters_are_seen_and_nothing_is_scaled_in_by_them(
    days: dict[str, Day], name: str
) -> None:
    day = days[name]
    assert {*AWAY, *PAST} <= set(day.errors)
    assert any(minute in DENIED for minute in day.errors)
    assert [minute for minute, _ in day.orders if SLOW.start <= minute < SLOW.stop + 4] == [
        170,
        174,
    ]
    for span in (AWAY, PAST):
        before, after = day.supply[span.start - 1], day.supply[span.stop]
        assert before is not None
        assert after is not None
        assert after >= min(before, wanted(START_S + 60 * span.stop))
        assert not [verb for minute, verb in day.orders if minute in span]
    turns = sum(a[1] is not b[1] for a, b in zip(day.orders, day.orders[1:], strict=False))
    assert turns <= 4, day.orders  # out and in, twice: two tides
