"""Tidegate is killed for an hour over every adapter: what serves is left alone, and on return nothing jumps.

A real daemon plans on a real database; the world and its time are the rig's. The log of the hour is brought late, as a
gateway's would be. What happens is held against the same day in which nobody was killed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from forecaster.domain.plan import Decision, Verb
from forecaster.domain.units import Fleet
from forecaster.planning.ledger import lives
from forecaster.replay.sample import between
from forecaster.store import EmbeddedServer, Store
from forecaster.wiring.wanted import Question
from tests.contract.rigs import DRAIN_S, LEAD_S, MAKERS, Pulled, Rig
from tests.integration.daemon_world import (
    CHAT,
    REPLAN_S,
    START_S,
    TICK_S,
    World,
    learned_database,
    records,
    sample,
    settings,
)
from tests.integration.tier_helpers import until

GONE_MIN = 60
BEFORE, AFTER = 12, 12
"""Ticks of five minutes."""
FLOOD_H, EBB_H = 7.0, 15.5
"""When the days begin: an hour later units are to be ordered, or given back."""
_numbers = count(1)
Played = Callable[..., "Day"]


class RigClock:
    """The rig's time; a replan and the tick after it never share a moment."""

    speed = 1.0

    def __init__(self, rig: Rig) -> None:
        self.rig, self.later_s = rig, 0.0

    def now_s(self) -> float:
        return self.rig.now_s() + self.later_s

    @property
    def now(self) -> float:
        return self.now_s()


class Installation(World):
    """A daemon over a rig, whose load comes from a log."""

    def __init__(self, store: Store, home: Path, rig: Rig, at_h: float) -> None:
        self.rig, self.logged_s, self._lines = rig, START_S, 0
        super().__init__(store, home, RigClock(rig), rig.actuator, settings())  # type: ignore[arg-type]
        self.write_log()

    def restart(self) -> None:
        self.tier = self.rig.actuator  # type: ignore[assignment]
        super().restart()
        until(lambda: self.daemon.lead() or self.daemon.leads, "the lead")  # its session may linger
        if isinstance(self.rig, Pulled):
            self.rig.ask = Question(self.daemon, self.rig.fleet).wanted

    def killed(self) -> None:
        """As by kill -9: the session ends, nobody says goodbye."""
        assert self.leadership is not None
        self.leadership.close()
        self.rig.killed()

    def write_log(self) -> None:
        """Bring what the gateway wrote since."""
        now_s = self.rig.now_s()
        came = between(sample(), self.logged_s, now_s)
        self.store.append_tier_requests(records(came, "gateway", from_seq=self._lines + 1))
        self.logged_s, self._lines = now_s, self._lines + len(came)

    def step(self, seconds: float = TICK_S, log: bool = True) -> Fleet:
        self.rig.advance(seconds)
        if log:
            self.write_log()
        if self.rig.now_s() - self.last_plan_s >= REPLAN_S:
            self.last_plan_s = self.rig.now_s()
            self.daemon.replan()
        self.clock.later_s = 0.5  # type: ignore[attr-defined]
        self.daemon.tick()
        self.clock.later_s = 0.0  # type: ignore[attr-defined]
        return self.fleet()

    def fleet(self) -> Fleet:
        return self.rig.actuator.observe(CHAT)


@dataclass
class Day:
    """One day around the hour.

    Attributes
    ----------
    meanwhile : list of set of str
        What served in each minute of the hour.
    held : int
        Units ready or on their way when the hour began; one was just ordered by hand.
    blind : Decision or None
        The first decision after it, without the log of the hour.
    ready : int
        Units that were ready to it.
    plan_s : float
        How old the plan was by which it was made.
    supply : list of int
        After each tick from then on.
    """

    installation: Installation
    meanwhile: list[set[str]] = field(default_factory=list)
    held: int = 0
    blind: Decision | None = None
    ready: int = 0
    plan_s: float = 0.0
    supply: list[int] = field(default_factory=list)


def play(store: Store, home: Path, rig: Rig, at_h: float, gone_min: int) -> Day:
    day = Day(Installation(store, home, rig, at_h))
    found = day.installation
    for _ in range(BEFORE):
        found.step()
    rig.actuator.prewarm(CHAT, 1, reason="by hand", order_key="by hand")
    rig.advance(DRAIN_S)  # who asks heard of it
    day.held = found.supply
    if gone_min:
        found.killed()
        for _ in range(gone_min):
            rig.advance(60.0)
            day.meanwhile.append(rig.serving())
        rig.back()
        found.last_plan_s = rig.now_s()  # its next plan by the schedule is half an hour away
        found.restart()
        found.daemon.tick()
        state = found.pilot.state
        assert state.table is not None
        assert state.fleet is not None
        day.blind, day.ready = state.decision, state.fleet.ready
        day.plan_s = rig.now_s() - state.table.made_s
        found.last_plan_s = 0.0
    else:
        for _ in range(round(GONE_MIN * 60 / TICK_S)):
            found.step()
    day.supply = [_supply(found.step()) for _ in range(AFTER)]
    return day


def _supply(fleet: Fleet) -> int:
    return fleet.ready + fleet.warming


@pytest.fixture(scope="module")
def days(postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """Days that were played, by adapter, hour of their beginning, and minutes without Tidegate."""
    known: dict[tuple[str, float, int], Day] = {}
    with ExitStack() as stack:

        def played(name: str, at_h: float, gone_min: int = GONE_MIN) -> Day:
            if (name, at_h, gone_min) not in known:
                store = stack.enter_context(
                    learned_database(postgres, f"learned_gone_{next(_numbers)}")
                )
                folder = tmp_path_factory.mktemp("gone")
                rig = MAKERS[name](folder, stack, START_S + at_h * 3600)
                known[name, at_h, gone_min] = play(store, folder, rig, at_h, gone_min)
            return known[name, at_h, gone_min]

        yield played


both_tides = pytest.mark.parametrize("at_h", [FLOOD_H, EBB_H], ids=["flood", "ebb"])
every_adapter = pytest.mark.parametrize("name", list(MAKERS))


@every_adapter
@both_tides
def test_nobody_touches_what_serves_while_tidegate_is_gone(
    days: Played, name: str, at_h: float
) -> None:
    day = days(name, at_h)
    assert len(day.meanwhile) == GONE_MIN
    started = round(2 * LEAD_S / 60)  # the unit that was on its way came by itself
    assert len(day.meanwhile[started]) == day.held
    assert all(each == day.meanwhile[started] for each in day.meanwhile[started:])


@every_adapter
@both_tides
def test_on_return_it_goes_from_what_it_held_to_what_it_would_hold_and_no_further(
    days: Played, name: str, at_h: float
) -> None:
    day, unbroken = days(name, at_h), days("dry run", at_h, 0)
    assert day.held != unbroken.supply[0]
    assert day.ready == day.held
    assert day.plan_s < 1.0
    assert day.blind is not None
    assert day.blind.verb is not Verb.DRAIN, (
        day.blind.explanation
    )  # the log of the hour is not here
    for ours, theirs in zip(day.supply, unbroken.supply, strict=True):
        assert min(day.held, theirs) - 1 <= ours <= max(day.held, theirs) + 1
    for ours, theirs in zip(day.supply[2:], unbroken.supply[2:], strict=True):
        assert abs(ours - theirs) <= 1
    ways = [b > a for a, b in zip(day.supply, day.supply[1:], strict=False) if a != b]
    assert ways == sorted(ways, reverse=at_h == FLOOD_H)


@every_adapter
@both_tides
def test_the_hour_is_no_lead_and_no_unit_lives_twice(days: Played, name: str, at_h: float) -> None:
    found = days(name, at_h).installation
    assert max(found.pilot.planner.leads, default=0.0) <= 2 * TICK_S
    events = found.store.unit_events(CHAT, START_S, found.rig.now_s() + 1)
    lived = lives(events)
    by_hand = [each for each in lived if any(stay.reason == "by hand" for stay in each.stays)]
    assert len(by_hand) <= 1
    serving = {unit.unit_id for unit in found.fleet().units if unit.state == "ready"}
    assert serving <= {each.unit_id for each in lived}
    assert len({each.unit_id for each in lived}) == len(lived)


def test_after_less_than_an_hour_the_log_is_waited_for_too(days: Played) -> None:
    day = days("dry run", EBB_H, 40)
    assert day.blind is not None
    assert day.blind.verb is Verb.HOLD
    assert "the log is silent for 4" in day.blind.explanation
    assert day.supply[0] < day.held  # with the log units are given back at once


def test_what_the_log_tells_late_is_learnt(days: Played) -> None:
    feed = days("dry run", EBB_H).installation.pilot.planner.feed
    assert feed.asked is not None
    assert np.isfinite(feed.asked.arrivals).all()
