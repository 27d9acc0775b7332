"""Who takes over goes on where the leader before ended, also on another machine."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from forecaster.daemon.service import TAKE_OVER
from forecaster.domain.errors import DataError, FencedError
from forecaster.domain.word import Word
from forecaster.store import Store
from forecaster.store.leadership import LEASE_S
from tests.integration.daemon_world import CHAT, World, world


@pytest.fixture
def pair(learned_store: Store, tmp_path: Path) -> tuple[World, World]:
    """Two daemons with folders of their own; the first led through a morning, and its beat is late."""
    first = world(learned_store, tmp_path / "one", at_h=9)
    second = World(learned_store, tmp_path / "two", first.clock, first.tier, first.settings)
    second.daemon.tick()
    for _ in first.steps(12):
        pass
    with psycopg.connect(first.dsn) as connection:
        connection.execute(
            "update leader set beat = beat - make_interval(secs => %s)", [LEASE_S + 1]
        )
    return first, second


def test_plan_learning_and_leads_are_those_of_the_leader_before(pair: tuple[World, World]) -> None:
    first, second = pair
    assert second.pilot.state.table is None
    second.daemon.lead()
    second.daemon.tick()
    one, two = first.pilot, second.pilot
    assert two.state.table == one.state.table
    assert two.state.table_id == one.state.table_id
    assert two.planner.leads == one.planner.leads != []
    kept = first.store.activity.plans_in_force()[CHAT].inputs["learnt"]
    assert kept["evidence"] == list(two.planner.carrying.belief.evidence) != []
    assert kept["price"] == list(two.planner.learnt()["price"])  # type: ignore[call-overload]
    assert kept["budget"].keys() == two.planner.learnt()["budget"].keys()  # type: ignore[attr-defined]


def test_units_on_their_way_are_measured_by_whoever_sees_them_ready(
    pair: tuple[World, World],
) -> None:
    first, second = pair
    measured = len(first.pilot.planner.leads)
    first.tier.prewarm(CHAT, 1, reason="by hand", order_key="late")
    first.daemon.observer.observe()
    second.daemon.lead()
    first.clock.now += 400.0
    second.daemon.tick()
    assert len(second.pilot.planner.leads) == measured + 1


def test_a_late_leader_writes_no_plan(pair: tuple[World, World]) -> None:
    first, second = pair
    second.daemon.lead()
    before = first.store.activity.plans_in_force()[CHAT].plan_id
    first.clock.now += 1800.0
    with pytest.raises(FencedError, match="is late"):
        first.pilot.settle(first.pilot.draft(), None)
    assert first.store.activity.plans_in_force()[CHAT].plan_id == before


def test_a_standby_keeps_a_pin_for_the_leader_and_plans_nothing(pair: tuple[World, World]) -> None:
    first, second = pair
    plan_id = first.store.activity.plans_in_force()[CHAT].plan_id
    second.board.pin(CHAT, 5, 600.0, Word("a fair"))
    assert first.store.activity.plans_in_force()[CHAT].plan_id == plan_id
    first.daemon.replan()
    assert first.pilot.state.table is not None
    assert first.pilot.planner.pin is not None
    assert first.pilot.planner.pin.units == 5


def test_the_beat_goes_on_while_a_new_leader_plans(
    pair: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of first plans take longer than a lease: they are made beside the job that beats."""
    _, second = pair
    asked: list[str] = []
    monkeypatch.setattr(second.daemon.jobs, "once", lambda name, work, limit_s: asked.append(name))
    monkeypatch.setattr(second.daemon, "replan", lambda: pytest.fail("planned before it beats"))
    second.daemon.lead()
    assert second.daemon.leads
    assert asked == [TAKE_OVER]


def test_an_answer_is_for_the_leader(pair: tuple[World, World]) -> None:
    _, second = pair
    with pytest.raises(DataError, match="stands by: test leads"):
        second.board.answer(CHAT, "chat-1-prewarm-2", True)
