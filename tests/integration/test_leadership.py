"""Two daemons on one database: one orders; a late leader orders nothing; take-over keeps every order."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from actuators.dry_run import DryRunActuator
from forecaster.domain.errors import FencedError
from forecaster.store import Store
from forecaster.store.leadership import LEASE_S, Leadership
from tests.integration.daemon_world import CHAT, World, world

CANDIDATE = """
import sys
from forecaster.store.leadership import Leadership
leader = Leadership(sys.argv[1], sys.argv[2])
for line in sys.stdin:
    print(leader.hold() or 0, flush=True)
"""


class Candidate:
    """A daemon's candidacy in a process of its own, beating when it is told to."""

    def __init__(self, dsn: str, name: str) -> None:
        command = [sys.executable, "-c", CANDIDATE, dsn, name]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def hold(self) -> int:
        self.ask()
        return self.answer()

    def ask(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def answer(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def candidates(dsn: str) -> Iterator[list[Candidate]]:
    found = [Candidate(dsn, name) for name in ("one", "two")]
    yield found
    for each in found:
        each.process.send_signal(signal.SIGCONT)
        each.kill()


def expire(dsn: str) -> None:
    """Let the leader's last beat be older than its lease, without waiting for it."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "update leader set beat = beat - make_interval(secs => %s)", [LEASE_S + 1]
        )


def test_one_leads_and_the_other_takes_over_after_a_kill(
    dsn: str, candidates: list[Candidate]
) -> None:
    one, two = candidates
    first = one.hold()
    assert first > 0
    assert two.hold() == 0
    assert one.hold() == first, "a beat changes nothing"
    expire(dsn)
    assert one.hold() == first, "a late beat is a beat while nobody else led"
    one.kill()
    expire(dsn)  # whether or not the server has noticed the end of the session
    assert two.hold() == first + 1


def test_a_paused_leader_is_replaced_and_steps_back_when_it_wakes(
    dsn: str, store: Store, candidates: list[Candidate]
) -> None:
    one, two = candidates
    first = one.hold()
    os.kill(one.process.pid, signal.SIGSTOP)
    assert two.hold() == 0, "its lease lasts"
    expire(dsn)
    second = two.hold()
    assert second == first + 1
    with pytest.raises(FencedError):  # what the paused one decided before it was stopped
        store.append_decision(CHAT, 1.0, {"kind": "tick"}, {}, True, fence=first)
    assert store.append_decision(CHAT, 2.0, {"kind": "tick"}, {}, True, fence=second) > 0
    os.kill(one.process.pid, signal.SIGCONT)
    assert one.hold() == 0
    assert two.hold() == second
    assert [row.at_s for row in store.decisions(CHAT)] == [2.0]


def test_a_seeded_storm_of_kills_and_pauses_never_has_two_leaders(dsn: str, store: Store) -> None:
    """Random kills, pauses past the lease and beats; who may write an order is asked after each."""
    dice = random.Random(20_261_123)
    crowd = {name: Candidate(dsn, name) for name in ("a", "b", "c")}
    numbers = dict.fromkeys(crowd, 0)
    paused: set[str] = set()
    ordered: list[int] = []
    for _ in range(60):
        name = dice.choice(sorted(crowd))
        action = dice.choice(["beat", "beat", "beat", "kill", "pause", "wake"])
        if action == "kill":
            crowd[name].kill()
            paused.discard(name)
            crowd[name], numbers[name] = Candidate(dsn, name), 0
        elif action == "pause" and name not in paused:
            os.kill(crowd[name].process.pid, signal.SIGSTOP)
            paused.add(name)
            expire(dsn)
        elif action == "wake" and name in paused:
            os.kill(crowd[name].process.pid, signal.SIGCONT)
            paused.discard(name)
        if name not in paused and action != "wake":
            numbers[name] = crowd[name].hold()
        able = []
        for each, number in numbers.items():
            try:
                if number:
                    store.append_decision(CHAT, len(ordered), {"kind": "tick"}, {}, True, number)
                    able.append(each)
                    ordered.append(number)
            except FencedError:
                pass
        assert len(able) <= 1, able
    for name in paused:
        os.kill(crowd[name].process.pid, signal.SIGCONT)
    for each in crowd.values():
        each.kill()
    assert ordered == sorted(ordered), "leaders follow one another"
    assert len(set(ordered)) >= 5, "leadership changed hands"
    assert len(store.decisions(CHAT, 1000)) == len(ordered), "no order lost or doubled"


@pytest.fixture
def pair(learned_store: Store, tmp_path: Path) -> tuple[World, World]:
    """Two daemons on one database and one tier; the first leads."""
    first = world(learned_store, tmp_path / "one", at_h=9)
    second = World(learned_store, tmp_path / "two", first.clock, first.tier, first.settings)
    first.overload = second.overload = False
    return first, second


def test_only_the_leader_orders_and_the_other_serves(pair: tuple[World, World]) -> None:
    first, second = pair
    second.daemon.tick()
    second.daemon.replan()
    assert first.supply == 0
    assert second.note == "stands by: test leads"
    assert not second.daemon.leads
    first.step()
    assert first.supply > 0
    seen = second.board.units(CHAT)["units"]
    second.daemon.tick()
    assert len(second.board.units(CHAT)["units"]) == first.supply > len(seen)
    assert [r.ordered for r in first.store.decisions(CHAT, 100)].count(True) == 1


def test_a_leader_that_wakes_up_late_is_fenced_by_store_and_tier(pair: tuple[World, World]) -> None:
    first, second = pair
    number = first.pilot.fence
    assert number is not None
    assert first.leadership is not None
    expire(first.dsn)
    second.daemon.lead()  # the first one is paused: it does not know
    assert second.daemon.leads
    first.step()
    assert first.supply == 0
    assert "is late" in first.note
    with pytest.raises(FencedError, match=f"leader {number} is late"):
        first.tier.prewarm(CHAT, 1, reason="late", order_key="late", fence=number)
    second.step()
    supply = second.supply
    assert supply > 0
    first.daemon.lead()
    assert not first.daemon.leads
    first.step()
    assert first.supply == supply
    ordered = [row for row in second.store.decisions(CHAT, 100) if row.ordered]
    assert len(ordered) == 1


def test_a_late_leader_adds_nothing_to_the_books(pair: tuple[World, World]) -> None:
    first, second = pair
    books = first.store.books

    def aims() -> list[tuple[float, int]]:
        return books.aims(CHAT, 0.0, first.clock.now + 1.0)

    assert first.leadership is not None
    first.step()
    before, late = aims(), first.pilot.fence
    assert before
    expire(first.dsn)
    second.daemon.lead()
    first.pilot.shadow = 99  # it slept while the aim moved on
    first.step()
    assert aims() == before, "the late leader's aim is not written"
    with pytest.raises(FencedError, match=f"leader {late} is late"):
        books.refuse(CHAT, first.clock.now, 60.0, 1.0, late)
    assert books.refused(0.0, first.clock.now + 3600.0) == {}
    first.daemon.lead()
    second.step()
    moved = aims()
    expire(first.dsn)
    second.leadership.close()  # type: ignore[union-attr]
    first.daemon.lead()
    first.step(1.0)
    assert first.daemon.leads
    assert first.pilot.shadow == moved[-1][1], (
        "a leader that leads again begins with what is in force"
    )


def test_a_database_that_went_away_keeps_its_leader(dsn: str) -> None:
    leader = Leadership(dsn, "one")
    number = leader.hold()
    assert number is not None
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'tidegate-leader' and datname = current_database()"
        )
    assert leader.hold() == number, "nobody could be elected meanwhile"
    assert leader.hold() == number
    leader.close()
    assert leader.number is None


def test_the_dry_run_tier_refuses_earlier_leaders(pair: tuple[World, World]) -> None:
    tier: DryRunActuator = pair[0].tier
    tier.lead(70)
    with pytest.raises(FencedError):
        tier.drain(CHAT, 1, reason="late", order_key="x", fence=69)
    assert tier.prewarm(CHAT, 1, reason="by hand", order_key="y") != ()
