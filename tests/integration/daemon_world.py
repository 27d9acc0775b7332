"""A daemon in a world moved by hand: real database, fake time, a tier in memory."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from actuators.dry_run import DryRunActuator
from forecaster.capacity.sizing import Question, capacity_rps, rounded
from forecaster.capacity.sizing_table import SizingTable
from forecaster.config import Settings
from forecaster.config.settings import (
    PlannerSettings,
    RetrainSettings,
    ServiceSettings,
    SloSettings,
)
from forecaster.daemon.alarms import Alarms
from forecaster.daemon.board import Board
from forecaster.daemon.bookkeeper import Bookkeeper
from forecaster.daemon.observer import Observer
from forecaster.daemon.pilot import Pilot
from forecaster.daemon.pooled import Pooled
from forecaster.daemon.service import Daemon
from forecaster.daemon.spool import Spool
from forecaster.daemon.training import retrain_service
from forecaster.domain.demand import RequestBatch, TokenMix
from forecaster.domain.pools import pool_service
from forecaster.domain.ports import Actuator
from forecaster.domain.profile import UnitType
from forecaster.domain.units import Fleet, RequestRecord
from forecaster.replay.sample import Sample, between
from forecaster.store import EmbeddedServer, Store
from forecaster.store.leadership import Leadership
from forecaster.wiring.rivals import ReplayRivals
from forecaster.wiring.tables import Tables
from tests.integration.tier_helpers import LLAMA_TYPE, until

CHAT = "chat"
LEARNED = "tidegate_learned"
START_S = 1_767_657_600.0  # 2026-01-06 00:00 UTC, a Tuesday
HISTORY_S = 9 * 86_400.0
TICK_S, REPLAN_S = 300.0, 1800.0
LEAD_S = 200.0
LOG_SAMPLE = 1 / 400
KEPT = Tables(
    Path(gettempdir()) / f"tidegate-tables-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
)
"""Built once for all tests of a run, whichever process they are in."""
SLO = SloSettings(ttft_p99_s=1.0, tpot_p99_s=0.1)
MIX = TokenMix.of(48, 24, scv=0.6)


def tables(_service: str, question: Question, max_units: int) -> SizingTable:
    """The table of lengths that the mix describes, built while the test waits."""
    return KEPT.table(question, max_units)


class HandClock:
    """Time that passes when it is told to."""

    speed = 1.0

    def __init__(self, now_s: float = START_S) -> None:
        self.now = now_s

    def now_s(self) -> float:
        return self.now


def settings(**service: Any) -> Settings:
    chat = {
        "name": CHAT,
        "unit": "tiny-llama",
        "slo": SLO,
        "max_units": 8,
        "log_sample": LOG_SAMPLE,
    }
    return Settings(
        service=(ServiceSettings(**chat | service),),
        planner=PlannerSettings(tick_s=TICK_S, replan_s=REPLAN_S),
        retrain=RetrainSettings(members=("profile", "ridge"), slot_s=600),
    )


def sample(peak_units: int = 5) -> Sample:
    carried = capacity_rps(
        Question(LLAMA_TYPE, settings().service[0].service().slo, MIX), peak_units
    )
    return Sample(CHAT, 0.85 * carried * LOG_SAMPLE, 48, 24)


def records(
    batch: RequestBatch, tier: str = "", unit: str = "u", from_seq: int = 1, late: float = 0.0
) -> list[RequestRecord]:
    """The batch as a tier reports it, `late` of it outside the SLO."""
    columns = (batch.arrival_s, batch.prompt_tokens, batch.output_tokens)
    rows = enumerate(zip(*columns, strict=True), from_seq)
    found = []
    for seq, (t, p, n) in rows:
        ttft_s = 9.0 if int(seq * late) > int((seq - 1) * late) else 0.1
        found.append(
            RequestRecord(
                tier, seq, batch.service, float(t), int(p), int(n), ttft_s, 0.01, 0.4, unit, 200
            )
        )
    return found


def lateness(ready: int, batch: RequestBatch, seconds: float) -> float:
    """Share outside the SLO that the table foresees for so many units."""
    asked = rounded(Question(LLAMA_TYPE, settings().service[0].service().slo, MIX))
    rate = len(batch) / LOG_SAMPLE / seconds
    return float(KEPT.table(asked, 16).violation_share(ready, rate))


def learn(store: Store, end_s: float = START_S) -> None:
    """Nine days that end at `end_s`, and a champion trained on them."""
    store.append_tier_requests(records(between(sample(), end_s - HISTORY_S, end_s), "history"))
    chosen = settings()
    retrain_service(
        store, chosen.service[0].service(), chosen.retrain, end_s, profile=LLAMA_TYPE.profile
    )


@contextmanager
def learned_database(server: EmbeddedServer, name: str) -> Iterator[Store]:
    """A database of its own with what `learn` leaves behind, copied from one that learned it once."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        known = connection.execute("select from pg_database where datname = %s", [LEARNED])
        if known.fetchone() is None:
            connection.execute(f"create database {LEARNED} template tidegate_template")
            with Store.open(make_conninfo(server.dsn, dbname=LEARNED)) as store:
                learn(store)
        connection.execute(f"create database {name} template {LEARNED}")
        with Store.open(make_conninfo(server.dsn, dbname=name)) as store:
            yield store
        connection.execute(f"drop database {name} with (force)")


@dataclass
class World:
    store: Store
    home: Path
    clock: HandClock
    tier: DryRunActuator
    settings: Settings = field(default_factory=settings)
    last_plan_s: float = -1e18
    leadership: Leadership | None = None
    overload: bool = True
    """Whether requests are late when more come than the ready units carry."""
    unit: UnitType = LLAMA_TYPE
    lateness: Callable[[int, RequestBatch, float], float] = lateness

    def __post_init__(self) -> None:
        self.dsn = self.store.dsn
        self.restart()

    def restart(self) -> None:
        """A new daemon, as after a crash: it knows what is on disk and in the database."""
        pools = {CHAT: tuple(self.unit.by_pool)}
        self.actuator: Actuator = Pooled(self.tier, pools) if self.unit.pooled else self.tier
        if self.leadership is not None:
            self.leadership.close()
        self.leadership = Leadership(self.dsn, "test")
        weakref.finalize(self, self.leadership.close)
        self.spool = Spool(self.home)
        self.pilot = Pilot(
            self.settings.service[0].service(),
            self.unit,
            self.settings,
            store=self.store,
            actuator=self.actuator,
            clock=self.clock,
            spool=self.spool,
            tables=tables,
            settle_s=60.0,
        )
        self.daemon = Daemon(
            self.settings,
            store=self.store,
            clock=self.clock,
            spool=self.spool,
            pilots=[self.pilot],
            observer=Observer(self.store, self.actuator),
            bookkeeper=Bookkeeper(self.store, ReplayRivals(self.store)),
            alarms=Alarms(self.store, self.clock, self.settings.alerts, [self.pilot]),
            leadership=self.leadership,
        )
        self.board = Board(self.daemon, self.store, self.clock, self.clock.now, {"version": "test"})
        self.daemon.on_requests = self.board.on_requests
        # an election that a busy machine did not answer in time is held again
        until(lambda: self.daemon.lead() or self.daemon.leads or self.leadership.leader, "a leader")

    def step(self, seconds: float = TICK_S) -> Fleet:
        """Let time pass, send what arrives in it, tick, and replan when that is due."""
        before = self.clock.now
        self.clock.now += seconds
        came = between(sample(), before, self.clock.now)
        ready = self.fleet().ready
        late = self.lateness(ready, came, seconds) if self.overload else 0.0
        self.tell(came, late, before)
        if self.clock.now - self.last_plan_s >= REPLAN_S:
            self.last_plan_s = self.clock.now - 1.0
            self.clock.now -= 1.0  # the two jobs never share a microsecond
            self.daemon.replan()
            self.clock.now += 1.0
        self.daemon.tick()
        return self.fleet()

    def tell(self, came: RequestBatch, late: float, since_s: float) -> None:
        """What arrived since then becomes known: here the tier logs it."""
        for record in records(came, late=late):
            if not self.tier.unavailable:
                self.tier.push_request(record)

    def steps(self, count: int) -> Iterator[Fleet]:
        for _ in range(count):
            yield self.step()

    def fleet(self) -> Fleet:
        away, self.tier.unavailable = self.tier.unavailable, False
        fleet = self.actuator.observe(CHAT)
        self.tier.unavailable = away
        return fleet

    @property
    def supply(self) -> int:
        fleet = self.fleet()
        return fleet.ready + fleet.warming

    @property
    def note(self) -> str:
        return self.pilot.state.note

    @property
    def hour(self) -> float:
        return (self.clock.now - START_S) / 3600


def world(
    store: Store, home: Path, at_h: float = 0.0, unit: UnitType = LLAMA_TYPE, **service: Any
) -> World:
    """A world at `at_h` o'clock of the day after the history; requests up to then are stored."""
    clock = HandClock(START_S + at_h * 3600)
    if at_h:
        store.append_tier_requests(records(between(sample(), START_S, clock.now), "morning"))
    lanes = [pool_service(CHAT, pool) for pool in unit.by_pool]
    tier = DryRunActuator(clock, lanes, lead_time_s=LEAD_S, drain_time_s=30.0, max_units_total=20)
    return World(store, home, clock, tier, settings(**service), unit=unit)
