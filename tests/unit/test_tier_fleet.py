"""Units obey the life-cycle table; what happened is journalled without gaps."""

from __future__ import annotations

from pathlib import Path

import pytest

from actuators.onnx_tier.fleet import FAILED_SHOWN_S, FleetTable, Unit
from actuators.onnx_tier.spec import TierService
from forecaster.domain.errors import LifecycleError
from forecaster.domain.lifecycle import TRANSITIONS, UnitState
from forecaster.domain.profile import ClassicProfile, UnitType

SERVICE = TierService("mlp", UnitType("mlp", ClassicProfile(((1, 0.001),))), Path("x"))
TO_READY = (UnitState.STARTING, UnitState.LOADING, UnitState.WARMING, UnitState.READY)


class _Clock:
    speed = 1.0

    def __init__(self) -> None:
        self.time_s = 1000.0

    def now_s(self) -> float:
        return self.time_s


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def fleet(clock: _Clock) -> FleetTable:
    return FleetTable("abcdef012345", clock)


def _ready(fleet: FleetTable) -> Unit:
    unit = fleet.order(SERVICE, "load")
    for state in TO_READY:
        fleet.move(unit, state)
    return unit


def test_each_edge_is_timed(fleet: FleetTable, clock: _Clock) -> None:
    unit = fleet.order(SERVICE, "load")
    for state in TO_READY:
        clock.time_s += 2.0
        fleet.move(unit, state)
    assert unit.lead_time_s == 8.0
    events = fleet.events.after(0, 99)
    assert [event.seq for event in events] == [1, 2, 3, 4]
    assert [event.seconds for event in events] == [2.0] * 4
    assert [event.at_s for event in events] == [1002.0, 1004.0, 1006.0, 1008.0]
    assert (events[0].before, events[-1].after) == (UnitState.COLD, UnitState.READY)


@pytest.mark.parametrize("after", list(UnitState))
def test_edges_outside_the_table_are_refused(fleet: FleetTable, after: UnitState) -> None:
    unit = _ready(fleet)
    if after in TRANSITIONS[UnitState.READY]:
        fleet.move(unit, after)
        assert unit.state is after
    else:
        with pytest.raises(LifecycleError):
            fleet.move(unit, after)
        assert unit.state is UnitState.READY
        assert fleet.events.last == 4


def test_warming_units_are_drained_first_then_the_emptiest(fleet: FleetTable) -> None:
    busy, idle, half = _ready(fleet), _ready(fleet), _ready(fleet)
    older, newer = fleet.order(SERVICE, ""), fleet.order(SERVICE, "")
    work_s = {busy.unit_id: 9.0, half.unit_id: 1.0, idle.unit_id: 0.0}
    assert fleet.drain_order("mlp", 9, work_s) == [newer, older, idle, half, busy]
    assert fleet.drain_order("mlp", 1, work_s) == [newer]
    assert fleet.drain_order("other", 1, work_s) == []


def test_failed_units_are_shown_for_an_hour_and_cost_nothing(
    fleet: FleetTable, clock: _Clock
) -> None:
    unit = _ready(fleet)
    fleet.move(unit, UnitState.FAILED, "crashed")
    assert fleet.live() == 0
    assert [view.reason for view in fleet.views("mlp", {})] == ["crashed"]
    clock.time_s += FAILED_SHOWN_S + 1
    assert fleet.views("mlp", {}) == ()


def test_gone_units_are_forgotten_and_ids_never_come_back(fleet: FleetTable) -> None:
    unit = _ready(fleet)
    fleet.move(unit, UnitState.DRAINING, "night")
    fleet.move(unit, UnitState.GONE)
    assert fleet.get(unit.unit_id) is None
    assert fleet.order(SERVICE, "").unit_id != unit.unit_id
    assert fleet.events.after(5, 1)[0].reason == "night"
