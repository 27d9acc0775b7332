"""Two services on the GPUs of one: the quota holds at every tick, and the first in line goes first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from actuators.dry_run import DryRunActuator
from forecaster.config import Settings
from forecaster.config.settings import QuotaSettings
from forecaster.daemon.alarms import Alarms
from forecaster.daemon.bookkeeper import Bookkeeper
from forecaster.daemon.observer import Observer
from forecaster.daemon.pilot import Pilot
from forecaster.daemon.quotas import quotas
from forecaster.daemon.service import Daemon
from forecaster.daemon.sharing import HOLDING
from forecaster.daemon.spool import Spool
from forecaster.daemon.training import retrain_service
from forecaster.domain.plan import Reason
from forecaster.domain.service import Mode, Quota
from forecaster.domain.word import Word
from forecaster.planning.journal import decision_to_dict, replay_decision, table_from_dict
from forecaster.replay.sample import Sample, between
from forecaster.store import Store
from forecaster.store.leadership import Leadership
from forecaster.wiring.rivals import ReplayRivals
from tests.integration.daemon_world import (
    LEAD_S,
    REPLAN_S,
    START_S,
    TICK_S,
    HandClock,
    records,
    sample,
    settings,
    tables,
)
from tests.integration.tier_helpers import LLAMA_TYPE

FIRST, SECOND = "chat", "drafts"
GPUS = 12
DAYS = 5
UNIT = replace(LLAMA_TYPE, gpus=2)


def samples() -> list[Sample]:
    return [sample(), replace(sample(), service=SECOND, seed=11)]


def shared() -> Settings:
    alone = settings()
    chat = alone.service[0].model_copy(update={"quota": "gpus", "priority": 1})
    drafts = chat.model_copy(update={"name": SECOND, "priority": 0})
    changed = {
        "service": (chat, drafts),
        "quota": (QuotaSettings(name="gpus", gpus=GPUS),),
        "retrain": alone.retrain.model_copy(update={"members": ("profile",)}),
    }
    return alone.model_copy(update=changed)


@dataclass
class Shared:
    daemon: Daemon
    tier: DryRunActuator
    clock: HandClock
    store: Store
    last_plan_s: float = -1e18

    def step(self) -> dict[str, int]:
        """One tick; GPUs that each service holds after it."""
        before = self.clock.now
        self.clock.now += TICK_S
        for each in samples():
            for record in records(between(each, before, self.clock.now)):
                self.tier.push_request(record)
        if self.clock.now - self.last_plan_s >= REPLAN_S:
            self.last_plan_s = self.clock.now - 1.0
            self.clock.now -= 1.0
            self.daemon.replan()
            self.clock.now += 1.0
        self.daemon.tick()
        return {each.service: self.gpus(each.service) for each in samples()}

    def gpus(self, service: str) -> int:
        return self.tier.observe(service).count(*HOLDING) * UNIT.gpus

    def need(self, service: str) -> int:
        """Units that the load one lead from now is worth."""
        table = self.daemon.pilots[service].state.table
        assert table is not None
        return table.at(self.clock.now + LEAD_S).need_units


@pytest.fixture
def morning(store: Store, tmp_path: Path) -> Iterator[Shared]:
    """Six o'clock, before the tide of both comes in."""
    chosen, clock = shared(), HandClock(START_S + 6 * 3600)
    for each in samples():
        past = between(each, START_S - DAYS * 86_400.0, clock.now)
        store.append_tier_requests(records(past, f"history-{each.service}"))
    for each in chosen.service:
        retrain_service(store, each.service(), chosen.retrain, START_S, profile=LLAMA_TYPE.profile)
    names = [each.name for each in chosen.service]
    tier = DryRunActuator(clock, names, lead_time_s=LEAD_S, drain_time_s=30.0)
    spool = Spool(tmp_path)
    pilots = [
        Pilot(
            each.service(), UNIT, chosen, store=store, actuator=tier, clock=clock, spool=spool,
            tables=tables, settle_s=60.0,
        )
        for each in chosen.service
    ]  # fmt: skip
    leadership = Leadership(store.dsn, "test")
    daemon = Daemon(
        chosen, store=store, clock=clock, spool=spool, pilots=pilots,
        observer=Observer(store, tier), bookkeeper=Bookkeeper(store, ReplayRivals(store)),
        alarms=Alarms(store, clock, chosen.alerts, pilots), leadership=leadership,
    )  # fmt: skip
    daemon.lead()
    yield Shared(daemon, tier, clock, store)
    leadership.close()


def test_a_day_under_one_quota(morning: Shared) -> None:
    """Both want ten GPUs at their peak; there are twelve."""
    refused, first_short = 0, 0
    for _ in range(round(6 * 3600 / TICK_S)):
        held = morning.step()
        assert sum(held.values()) <= GPUS
        tables_now = {name: pilot.state.table for name, pilot in morning.daemon.pilots.items()}
        assert all(tables_now.values()), morning.daemon.failures
        ahead = {
            name: table.at(morning.clock.now + table.lead_time_s + table.slot_s)
            for name, table in tables_now.items()
        }  # type: ignore[union-attr]
        first_short += ahead[FIRST].refused_units
        refused += ahead[SECOND].refused_units
        if ahead[SECOND].refused_units:
            assert ahead[SECOND].reason is Reason.QUOTA
            assert ahead[SECOND].refused_rps >= 0
        plans_now = [each.slots for each in tables_now.values() if each is not None]
        together = [sum(each.hold_units for each in slot) for slot in zip(*plans_now, strict=True)]
        assert max(together[10:]) * UNIT.gpus <= GPUS
    (said,) = quotas(morning.daemon.sharing, morning.store, morning.clock.now)["quotas"]
    mine, other = said["services"]
    assert (said["gpus"], mine["service"], other["service"]) == (GPUS, FIRST, SECOND)
    assert said["taken_gpus"] == mine["taken_gpus"] + other["taken_gpus"] <= GPUS
    assert mine["past_day"]["refused_unit_hours"] == pytest.approx(first_short * TICK_S / 3600)
    assert other["past_day"]["refused_unit_hours"] == pytest.approx(refused * TICK_S / 3600)
    assert other["past_day"]["refused_requests"] > 0
    assert refused > 0
    # the first in line is refused nothing but the floor of the other
    assert morning.daemon.failures == {}
    assert first_short == 0 or morning.gpus(SECOND) == UNIT.gpus
    rows = morning.store.decisions(SECOND, 10_000)
    said = [row for row in rows if row.inputs["kind"] == "tick"]
    assert any("quota" in row.output["explanation"] for row in said)
    plans = {
        row.decision_id: table_from_dict(row.output) for row in rows if row.inputs["kind"] == "plan"
    }
    for row in said:  # the quota is among the recorded inputs: the same decision again
        if row.inputs["plan_id"]:
            again = decision_to_dict(replay_decision(row.inputs, plans[row.inputs["plan_id"]]))
            assert again | {"note": row.output["note"]} == dict(row.output)


def test_what_changes_by_day(morning: Shared) -> None:
    """A service that may not order, one that is not seen, and a quota that shrinks."""
    for _ in range(3):
        morning.step()
    first, second = (morning.daemon.pilots[name] for name in (FIRST, SECOND))
    kept = morning.gpus(SECOND)
    morning.store.switch(morning.clock.now, SECOND, "mode", Mode.OBSERVE.value, Word("test"))
    for _ in range(round(5 * 3600 / TICK_S)):
        held = morning.step()
        assert held[SECOND] == kept, "who may not order keeps what it has"
        assert sum(held.values()) <= GPUS
    assert second.gate.mode is Mode.OBSERVE
    assert morning.gpus(FIRST) > UNIT.gpus
    morning.daemon.sharing.configure([Quota("gpus", kept + UNIT.gpus)])
    morning.last_plan_s = -1e18
    for _ in range(3):
        held = morning.step()
    assert held == {FIRST: UNIT.gpus, SECOND: kept}, "a smaller quota holds from the next plan on"
    assert first.room() == 0
    morning.daemon.sharing.configure([Quota("gpus", 4 * GPUS)])
    room = first.room()
    assert room is not None
    assert room > 0
    unseen = DryRunActuator(morning.clock, [SECOND])
    unseen.unavailable = True
    second.actuator = unseen
    assert first.room() == 0, "how much room there is is not known: nothing is ordered"


def test_an_unknown_quota_is_refused() -> None:
    chosen = shared().model_dump() | {"quota": ()}
    with pytest.raises(ValidationError, match="names quota = 'gpus', there are: none"):
        Settings(**chosen)
