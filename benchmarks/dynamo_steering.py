"""Tidegate in Dynamo's replay: the product's own parts, on the clock and the counts of the planner that asks.

What the daemon does of a tick is done here by the same objects: demand goes into a real store as counters give
it, a champion is trained on the past, and the `Pilot` forecasts, plans, decides and orders from the `WorkerFleet`
of the Dynamo plugin, which hears how many workers are ready. Only time is ours to move. Latencies are not among what
a planner tells: neither the belief nor the error budget learn while it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from psycopg.conninfo import make_conninfo

from actuators.dynamo.workers import WorkerFleet
from benchmarks.dynamo_traces import Case
from forecaster.config import Settings
from forecaster.config.settings import (
    PlannerSettings,
    RetrainSettings,
    ServiceSettings,
    SloSettings,
)
from forecaster.daemon.carrying import Tables
from forecaster.daemon.pilot import Pilot
from forecaster.daemon.spool import Spool
from forecaster.daemon.training import retrain_service
from forecaster.demand.counted import Counted, counted_sums
from forecaster.domain.demand import SLOT_S, FloatArray, IntArray
from forecaster.domain.profile import UnitType
from forecaster.store import EmbeddedServer, Store

SERVICE, METER = "llm", "planner"
MAX_UNITS = 64
DAY_SLOTS = 1440
_numbers = count(1)


class PlannerClock:
    """Time as the planner that asks has it.

    Parameters
    ----------
    start_s : float
        Clock time at which its time is 0, epoch seconds.
    speed : float
        Clock seconds per second of the planner.
    """

    def __init__(self, start_s: float, speed: float) -> None:
        self.start_s, self.speed, self.planner_s = start_s, speed, 0.0

    def now_s(self) -> float:
        return self.start_s + self.planner_s * self.speed


@dataclass(frozen=True)
class Terms:
    """What is asked of the service, and what is known of its units.

    Attributes
    ----------
    evidence : tuple of float
        What the calibration taught of the unit's table, see `capacity.belief`.
    """

    unit: UnitType
    slo: SloSettings
    tables: Tables
    evidence: tuple[float, ...] = ()


class Steering:
    """The plugin's side of one replay.

    Parameters
    ----------
    case : Case
        Whose past is known; of the trace itself nothing is read.
    """

    def __init__(self, case: Case, terms: Terms, store: Store, home: Path) -> None:
        self.case, self.terms, self.store = case, terms, store
        self.clock = PlannerClock(case.start_s, case.speed)
        self.settings = Settings(
            service=(
                ServiceSettings(
                    name=SERVICE, unit=terms.unit.name, slo=terms.slo, max_units=MAX_UNITS,
                    log_sample=1 / case.speed,
                ),
            ),
            planner=PlannerSettings(),
            retrain=RetrainSettings(),
        )  # fmt: skip
        lead_s = terms.unit.lead_time_s * case.speed
        self.fleet = WorkerFleet(self.clock, {SERVICE: lead_s}, home / "fleet.json", MAX_UNITS)
        service = self.settings.service[0].service()
        self._tell_past()
        retrain_service(
            store, service, self.settings.retrain, case.start_s, profile=terms.unit.profile
        )
        self.pilot = Pilot(
            service, terms.unit, self.settings, store=store, actuator=self.fleet, clock=self.clock,
            spool=Spool(home), tables=terms.tables, settle_s=0.0,
        )  # fmt: skip
        if terms.evidence:
            self.pilot.planner.recall({"evidence": list(terms.evidence)})
        self._planned_s = -np.inf
        self._seen = 0
        self._told_s = case.start_s

    @property
    def ask_s(self) -> float:
        """Seconds of the planner between two questions: one tick of the daemon."""
        return self.settings.planner.tick_s / self.case.speed

    def answer(self, told: dict[str, Any]) -> dict[str, Any]:
        """What the planner is told: the units of the newest decision, and why."""
        self.clock.planner_s = told["now_s"]
        self._count(told)
        if told["ready"] is not None:
            self.fleet.heard(SERVICE, told["ready"])
        now_s = self.clock.now_s()
        if now_s - self._planned_s >= self.settings.planner.replan_s:
            self.pilot.settle(self.pilot.draft(), None)
            self._planned_s = now_s
        decision = self.pilot.tick()
        events = list(self.fleet.events_after(self._seen))
        self._seen = max((each.seq for each in events), default=self._seen)
        self.pilot.learn_leads(events)
        reason = decision.explanation if decision else self.pilot.state.note
        return {"units": self.fleet.wanted(SERVICE), "reason": reason}

    def _tell_past(self) -> None:
        """Fill the store with the past, a day of minutes at a time."""
        begin_s, requests = self.case.past_minutes()
        prompt, output = (float(each.mean()) for each in self.case.lengths(100_000, 4))
        for first in range(0, requests.size, DAY_SLOTS):
            part = requests[first : first + DAY_SLOTS]
            starts = int(begin_s) + SLOT_S * (first + np.arange(part.size))
            self._put(starts, part, part * prompt, part * output)

    def _count(self, told: dict[str, Any]) -> None:
        """Take over the requests since the last question, spread over its clock minutes."""
        until_s = self.clock.now_s() // SLOT_S * SLOT_S
        starts = np.arange(self._told_s, until_s, SLOT_S).astype(np.int64)
        if not starts.size:
            return
        share = np.full(starts.size, told["requests"] / starts.size)
        self._put(starts, share, share * told["prompt"], share * told["output"])
        self._told_s = until_s

    def _put(
        self, starts: IntArray, requests: FloatArray, prompt: FloatArray, output: FloatArray
    ) -> None:
        span = (int(starts[0]), int(starts[-1]) + SLOT_S)
        sums = counted_sums(Counted(starts, requests, prompt, output))
        self.store.meters.put(SERVICE, METER, span, sums)


@contextmanager
def database(server: EmbeddedServer) -> Iterator[Store]:
    """A fresh database, dropped at the end."""
    name = f"dynamo_{next(_numbers)}"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f"create database {name}")
        try:
            with Store.open(make_conninfo(server.dsn, dbname=name)) as store:
                store.migrate()
                yield store
        finally:
            connection.execute(f"drop database {name} with (force)")
