"""Faults: a daemon that cannot see, store or order holds, says why, and catches up."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from forecaster.daemon.floor import floor_table
from forecaster.domain.errors import StoreUnavailableError
from forecaster.domain.plan import Verb
from forecaster.domain.service import Pin
from forecaster.domain.word import Word
from forecaster.planning.journal import decision_to_dict, replay_decision
from forecaster.replay.sample import between
from forecaster.store import EmbeddedServer, Store
from forecaster.store.switches import PIN
from tests.integration.daemon_world import (
    CHAT,
    LEAD_S,
    START_S,
    World,
    learn,
    records,
    sample,
    world,
)


@pytest.fixture
def afternoon(learned_store: Store, tmp_path: Path) -> World:
    """Half past one: the load rises for another hour and a half; the fleet is in place."""
    found = world(learned_store, tmp_path, at_h=13.5)
    for _ in found.steps(3):
        pass
    assert found.fleet().ready >= 2
    return found


class Away(Store):
    """A store whose database can be taken away."""

    def __init__(self, dsn: str) -> None:
        super().__init__(Store.open(dsn)._pool)
        self.away = False

    def __getattribute__(self, name: str):  # type: ignore[no-untyped-def]
        if name.startswith("_") or name in {"away", "close"} or not self.away:
            return super().__getattribute__(name)
        raise StoreUnavailableError("the database is away: connection refused", "start PostgreSQL")


def kinds(store: Store) -> list[tuple[float, str]]:
    return [(row.at_s, row.inputs["kind"]) for row in reversed(store.decisions(CHAT, 10_000))]


def test_a_tier_that_is_away_is_held_and_found_again(afternoon: World) -> None:
    before, ticks = afternoon.supply, len(kinds(afternoon.store))
    afternoon.tier.unavailable = True
    for fleet in afternoon.steps(4):
        assert fleet.ready + fleet.warming == before
        assert "told to be unavailable" in afternoon.note
    assert len([1 for _, kind in kinds(afternoon.store)[ticks:] if kind == "tick"]) == 0
    afternoon.tier.unavailable = False
    for _ in afternoon.steps(7):
        pass
    assert afternoon.note == ""
    assert afternoon.daemon.failures == {}


def test_denied_capacity_is_no_supply(learned_store: Store, tmp_path: Path) -> None:
    morning = world(learned_store, tmp_path, at_h=9)
    morning.tier.deny = True
    for fleet in morning.steps(3):
        assert fleet.ready + fleet.warming == 0
        assert morning.note.startswith("capacity denied: ")
        assert "raise max_units_total" in morning.note
        decision = morning.pilot.state.decision
        assert decision is not None
        assert decision.verb is Verb.PREWARM
        assert decision.units == decision.target_units  # nothing of what was denied is counted
    morning.tier.deny = False
    wanted = morning.step()
    assert wanted.warming == morning.pilot.state.decision.units  # type: ignore[union-attr]
    assert morning.note == ""
    assert morning.step().ready == wanted.warming


def test_after_three_failures_it_waits_before_it_orders_again(
    learned_store: Store, tmp_path: Path
) -> None:
    broken = world(learned_store, tmp_path, at_h=9)
    orders = 0
    for _ in range(12):
        broken.tier.fail_next = "no such provider"
        before = len(broken.tier.events_after(0))
        broken.step(LEAD_S)
        orders += any(each.before == "cold" for each in broken.tier.events_after(before))
        fleet = broken.fleet()
        for unit in [each for each in fleet.units if each.state == "ready"]:
            broken.tier.fail_unit(unit.unit_id, "no such provider")
        if "waiting" in broken.note:
            break
    assert orders <= 3
    assert "units failed lately (no such provider): waiting" in broken.note
    for _ in range(2):
        assert broken.step(100.0).warming == 0
    broken.tier.fail_next = ""
    for _ in range(3):
        broken.step()
    assert broken.supply >= 1
    assert broken.note == ""


def test_a_lost_database_leaves_the_plan_in_force_and_nothing_doubled(
    learned_store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Away(learned_store.dsn) as store:
        evening = world(store, tmp_path, at_h=16.0)
        for _ in evening.steps(3):
            pass
        table, sent = evening.pilot.state.table, evening.daemon.observer.requests
        journal = kinds(store)

        store.away = True
        fleets = list(evening.steps(18))  # an hour and a half, into a falling load
        assert evening.pilot.state.table is table
        assert "no new plan: the database is away" in evening.note
        assert caplog.text.count("the journal waits") == 1, "said once, not once a plan"
        assert evening.daemon.observer.requests == sent
        assert fleets[-1].ready >= 1
        spooled = evening.spool.journal.read_bytes().count(b"\n")
        assert spooled >= 1

        evening.restart()  # kill -9 and start, still without a database
        assert evening.pilot.state.table == table
        for _ in evening.steps(2):
            pass
        assert evening.pilot.state.decision is not None
        assert evening.fleet().ready >= 1

        store.away = False
        evening.last_plan_s = -1e18
        for _ in evening.steps(2):
            pass
        assert evening.note == ""
        after = kinds(store)
        assert after[: len(journal)] == journal
        caught_up = [each for each in after[len(journal) :] if each[1] == "tick"]
        assert len(caught_up) >= spooled
        assert len(set(caught_up)) == len(caught_up)
        assert evening.spool.journal.read_bytes() == b""

        arrived = store.request_rows(CHAT, START_S, evening.clock.now)
        assert len(arrived) == int(
            store.slots(CHAT, START_S, evening.clock.now + 60).arrivals.sum()
        )
        assert len(set(arrived.arrival_s.tolist())) == len(arrived)


def test_requests_that_waited_for_the_database_are_no_crowd(
    learned_store: Store, tmp_path: Path
) -> None:
    with Away(learned_store.dsn) as store:
        found = world(store, tmp_path, at_h=11.5)  # a plateau: half an hour later as much is needed
        for _ in found.steps(3):
            pass
        before = found.supply
        store.away = True
        for _ in found.steps(6):
            pass
        store.away = False
        found.step()
        assert found.pilot.state.table is not None
        assert found.supply <= before + 1
        assert found.pilot.planner.carrying.belief.factor < 1.5


def test_a_crash_between_journal_and_spool_doubles_nothing(afternoon: World) -> None:
    row = next(r for r in afternoon.store.decisions(CHAT, 100) if r.inputs["kind"] == "tick")
    entry = {"service": CHAT, "at_s": row.at_s, "inputs": row.inputs}
    afternoon.spool.push({**entry, "output": row.output, "ordered": row.ordered})
    before = kinds(afternoon.store)
    afternoon.daemon.housekeeping()
    assert kinds(afternoon.store) == before
    assert afternoon.spool.journal.read_bytes() == b""


def test_a_real_server_that_stops_and_comes_back(
    open_folder: Callable[[], Path], tmp_path: Path
) -> None:
    """The same with a real PostgreSQL: connections die, the pool finds the new server."""
    home = open_folder() / "home"
    server = EmbeddedServer(home)
    with Store.open(server.start()) as store:
        store.migrate()
        learn(store)
        noon = world(store, tmp_path, at_h=12.0)
        for _ in noon.steps(2):
            pass
        held = noon.supply
        server.stop()
        noon.step()
        assert noon.supply >= held
        assert (
            noon.note == ""
        )  # no new plan was due; the decision went to the spool or was the same
        server.start()
        noon.last_plan_s = -1e18
        noon.step()
        assert noon.note == ""
        assert noon.daemon.failures == {}
    server.stop()


def test_observe_orders_nothing_and_says_so(learned_store: Store, tmp_path: Path) -> None:
    shadow = world(learned_store, tmp_path, at_h=9, mode="observe")
    for fleet in shadow.steps(6):
        assert fleet.units == ()
        assert shadow.note == "mode is observe: nothing is ordered"
    ticks = [r for r in shadow.store.decisions(CHAT, 100) if r.inputs["kind"] == "tick"]
    assert ticks
    assert not any(row.ordered for row in ticks)
    assert len(ticks) < 6, "the same advice is written down once"
    assert ticks[0].output["note"] == "mode is observe: nothing is ordered"


def test_without_demand_the_floor_is_kept_and_the_note_says_what_to_do(
    store: Store, tmp_path: Path
) -> None:
    new = world(store, tmp_path, min_units=2)
    first = new.step()
    assert first.warming == 2
    assert new.step().ready == 2
    assert "no plan yet: the present fleet is held" in new.note
    assert (
        "no new plan: service 'chat' has no requests in range; ingest its request log" in new.note
    )
    (row,) = [r for r in store.decisions(CHAT, 10) if r.inputs["kind"] == "tick"]
    again = replay_decision(
        row.inputs, floor_table(CHAT, new.pilot.planner.policy(row.at_s, 0.0), row.at_s)
    )
    assert decision_to_dict(again) | {"note": ""} == dict(row.output)
    assert new.board.service(CHAT)["hold_units"] is None
    assert new.board.explain(CHAT, None)["why"].startswith("pre-warm 2: the floor is 2")


def test_a_silent_log_gives_nothing_back_however_long(afternoon: World) -> None:
    """Silence that is longer than a day must not become the usual rate of its own day."""
    held, until_s = afternoon.supply, afternoon.pilot.planner.feed.data_until_s
    afternoon.tier.push_request = lambda record: None  # type: ignore[method-assign]
    for _ in range(30 * 4):
        afternoon.step(900.0)
    assert afternoon.supply >= held
    assert afternoon.pilot.planner.feed.data_until_s <= until_s + 1800.0
    assert afternoon.daemon.failures == {}
    decision = afternoon.pilot.state.decision
    assert decision is not None
    assert "the log is silent for" in decision.explanation
    del afternoon.tier.push_request  # type: ignore[misc]
    for _ in afternoon.steps(12):
        pass
    assert afternoon.pilot.planner.feed.data_until_s > afternoon.clock.now - 1800.0
    assert "silent" not in afternoon.pilot.state.decision.explanation  # type: ignore[union-attr]


def test_one_service_with_a_defect_does_not_stop_the_others(
    afternoon: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("no such luck")

    monkeypatch.setattr(afternoon.pilot, "tick", broken)
    ticks = afternoon.daemon.ticks
    afternoon.daemon.tick()
    assert afternoon.daemon.ticks == ticks + 1
    assert "defect: ZeroDivisionError" in afternoon.note
    assert "Traceback" in caplog.text


def test_a_crowd_beyond_the_band_is_planned_for_within_a_tick(
    learned_store: Store, tmp_path: Path
) -> None:
    """Nobody waits for the slot to close and the next plan: the guard sees arrivals, not forecasts."""
    afternoon = world(learned_store, tmp_path, at_h=13.5, max_units=16)
    afternoon.overload = False
    for _ in afternoon.steps(4):
        pass
    before, table = afternoon.supply, afternoon.pilot.state.table
    began = afternoon.clock.now
    crowd = between(sample(), began, began + 300.0)
    for _ in range(2):  # on top of the usual requests
        for record in records(crowd):
            afternoon.tier.push_request(record)
    afternoon.step()
    assert afternoon.pilot.state.table is not table
    decision = afternoon.pilot.state.decision
    assert decision is not None
    assert (decision.verb, decision.at_s) == (Verb.PREWARM, afternoon.clock.now)
    assert afternoon.supply > before
    plans = [r for r in afternoon.store.decisions(CHAT, 50) if r.inputs["kind"] == "plan"]
    assert plans[0].inputs["nowcast_erl"] > 0
    assert plans[1].inputs["nowcast_erl"] is None


def test_what_was_learnt_survives_a_crash(afternoon: World) -> None:
    afternoon.last_plan_s = -1e18
    afternoon.step()
    planner = afternoon.pilot.planner
    assert planner.carrying.belief.evidence
    assert planner.budget.days
    kept = afternoon.spool.last_learnt(CHAT)
    afternoon.restart()
    again = afternoon.pilot.planner
    assert list(again.carrying.belief.evidence) == kept["evidence"]
    assert again.learnt()["evidence"] == kept["evidence"]
    assert {str(day): spent for day, spent in again.learnt()["budget"].items()} == kept["budget"]


def test_a_full_disk_is_said_while_the_plan_in_the_database_goes_on(
    afternoon: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = afternoon.pilot.state.table_id
    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_bytes", full)
        for _ in afternoon.steps(7):
            pass
        assert "cannot be written: No space left on device" in afternoon.note
        assert afternoon.pilot.state.table_id > before
        assert afternoon.supply >= 2
    for _ in afternoon.steps(7):
        pass
    assert afternoon.note == ""
    assert afternoon.spool.last_table(CHAT)[1] == afternoon.pilot.state.table_id


def test_a_pin_that_was_set_through_another_daemon_is_planned_with_at_the_next_tick(
    afternoon: World,
) -> None:
    afternoon.last_plan_s = 4e9  # no plan is due
    before = afternoon.supply
    pin = Pin(before + 2, afternoon.clock.now, afternoon.clock.now + 7200.0)
    afternoon.store.set_pin(CHAT, pin)
    afternoon.store.switch(afternoon.clock.now, CHAT, PIN, "two more", Word("release"))
    afternoon.step()
    assert afternoon.supply == before + 2
    plans = [at_s for at_s, kind in kinds(afternoon.store) if kind == "plan"]
    afternoon.step()
    assert [at for at, kind in kinds(afternoon.store) if kind == "plan"] == plans, "planned once"
