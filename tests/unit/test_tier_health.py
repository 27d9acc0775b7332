"""Each deadline of a unit, on either side of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from actuators.onnx_tier.fleet import Unit
from actuators.onnx_tier.health import Overdue, overdue
from actuators.onnx_tier.spec import TierService, TierSpec
from actuators.order_book import ORDERS_KEPT, OrderBook
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.profile import ClassicProfile, UnitType

TYPE = UnitType("mlp", ClassicProfile(((1, 0.001),)), drain_deadline_s=20.0)
SERVICE = TierService("mlp", TYPE, Path("x"))
SPEC = TierSpec(Path("h"), (SERVICE,), heartbeat_timeout_s=5.0, load_deadline_s=60.0)


def _unit(state: UnitState, *, entered_s: float, heard_s: float, released: bool = False) -> Unit:
    unit = Unit("u", SERVICE, 1, 0.0, 0.0, "")
    unit.state, unit.entered_s, unit.heard_s = state, entered_s, heard_s
    unit.released, unit.ends_s = released, 103.0
    return unit


@pytest.mark.parametrize(
    ("state", "entered_s", "heard_s", "released", "expected"),
    [
        (UnitState.COLD, 0.0, 0.0, False, None),
        (UnitState.STARTING, 41.0, 0.0, False, None),
        (UnitState.STARTING, 39.0, 99.0, False, Overdue.LOAD),
        (UnitState.LOADING, 39.0, 99.0, False, Overdue.LOAD),
        (UnitState.WARMING, 0.0, 96.0, False, None),
        (UnitState.WARMING, 99.0, 94.0, False, Overdue.HEARTBEAT),
        (UnitState.READY, 0.0, 96.0, False, None),
        (UnitState.READY, 0.0, 94.0, False, Overdue.HEARTBEAT),
        (UnitState.DRAINING, 81.0, 96.0, False, None),
        (UnitState.DRAINING, 79.0, 96.0, False, Overdue.DRAIN),
        (UnitState.DRAINING, 79.0, 94.0, False, Overdue.HEARTBEAT),
        (UnitState.DRAINING, 0.0, 0.0, True, None),
        (UnitState.FAILED, 0.0, 0.0, False, None),
    ],
)
def test_deadlines(
    state: UnitState, entered_s: float, heard_s: float, released: bool, expected: Overdue | None
) -> None:
    unit = _unit(state, entered_s=entered_s, heard_s=heard_s, released=released)
    assert overdue(unit, 100.0, SPEC) is expected


def test_long_steps_are_no_silence() -> None:
    slow = TierService("mlp", UnitType("mlp", ClassicProfile(((1, 1.0), (8, 2.0)))), Path("x"))
    unit = _unit(UnitState.READY, entered_s=0.0, heard_s=61.0)
    assert overdue(unit, 100.0, SPEC) is Overdue.HEARTBEAT
    unit.service = slow  # twenty passes of the largest batch are 40 s
    assert overdue(unit, 100.0, SPEC) is None
    assert overdue(unit, 101.1, SPEC) is Overdue.HEARTBEAT


def test_a_released_unit_that_does_not_end_is_killed() -> None:
    unit = _unit(UnitState.DRAINING, entered_s=0.0, heard_s=0.0, released=True)
    assert overdue(unit, 103.1, SPEC) is Overdue.EXIT


def test_an_order_is_carried_out_once_and_a_failed_one_again() -> None:
    book, calls = OrderBook(), []

    def carry_out() -> tuple[str, ...]:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("no room")
        return (f"u{len(calls)}",)

    with pytest.raises(ValueError, match="no room"):
        book.once(("prewarm", "a", "k"), carry_out)
    assert book.once(("prewarm", "a", "k"), carry_out) == ("u2",)
    assert book.once(("prewarm", "a", "k"), carry_out) == ("u2",)
    assert book.once(("drain", "a", "k"), carry_out) == ("u3",)
    for number in range(ORDERS_KEPT):
        book.once(("drain", "b", str(number)), tuple)
    assert book.once(("prewarm", "a", "k"), carry_out) == ("u4",)
