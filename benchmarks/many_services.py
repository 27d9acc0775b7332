"""Thousands of services with four weeks of demand, units' lives and a champion each, and a daemon over them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psycopg

from actuators.dry_run import DryRunActuator
from forecaster.capacity.sizing import Question
from forecaster.capacity.sizing_table import SizingTable
from forecaster.clock import SystemClock
from forecaster.config import Settings, load_unit_type
from forecaster.config.settings import (
    ApiSettings,
    ServiceSettings,
    SloSettings,
)
from forecaster.daemon.alarms import Alarms
from forecaster.daemon.board import Board
from forecaster.daemon.bookkeeper import Bookkeeper
from forecaster.daemon.observer import Observer
from forecaster.daemon.pilot import Pilot
from forecaster.daemon.service import Daemon
from forecaster.daemon.spool import Spool
from forecaster.daemon.training import retrain_service
from forecaster.domain.units import RequestRecord
from forecaster.store import Store
from forecaster.store.leadership import Leadership
from forecaster.wiring.rivals import ReplayRivals
from forecaster.wiring.tables import Tables

WEEKS, LIVES_A_DAY = 4, 4
MEAN_A_MINUTE = 0.3
"""Requests of one service: a quarter of the minutes have one, the log keeps one in a thousand."""
LOG_SAMPLE = 1e-3
UNIT = "mlp-classifier"
LIVES = """
insert into service (name) select 'service-' || to_char(n, 'FM0000') from generate_series(1, %(n)s) n;
insert into tariff select id, now() - interval '28 days', 'unit', 1, 0, 0 from service;
insert into unit_life
select 'bench', s.id || '-' || k, s.id, now() - make_interval(secs => k * 21600.0),
       now() - make_interval(secs => k * 21600.0 - 20000)
from service s, generate_series(1, %(lives)s) k;
insert into unit_event
select 'bench', row_number() over (), l.unit_id, l.service_id, l.born + make_interval(secs => e.after_s),
       e.before, e.after, e.after_s, 'bench', 'dry-run'
from unit_life l, (values (0.0, 'cold', 'starting'), (60.0, 'warming', 'ready'),
     (19900.0, 'ready', 'draining'), (20000.0, 'draining', 'gone')) e (after_s, before, after);
"""
DEMAND = """
insert into demand_slot
select s.id, m.at, c.n, 0, 0, 0, 0, 0, set_byte(%(blank)s::bytea, 0, c.n)
from service s
cross join generate_series(%(from)s::timestamptz, %(to)s::timestamptz, '1 minute') m (at)
cross join lateral (
    select floor(random() + %(mean)s * (1 - 0.9 * cos(
        2 * pi() * (extract(epoch from m.at) / 86400 + s.id / 7.0))))::int as n
) c
where s.id between %(low)s and %(high)s and c.n > 0
order by s.id, m.at
"""
COUNTED = """
update service set requests = f.n, first_arrival = f.low, last_arrival = f.high
from (select service_id, sum(arrivals) n, min(start) low, max(start) high from demand_slot group by 1) f
where f.service_id = service.id
"""
CHAMPIONS = """
insert into model (service_id, {columns})
select s.id, {columns} from service s, model m where m.service_id = 1 and s.id > 1
"""


def fill(dsn: str, services: int) -> None:
    """Four weeks that end now, straight into the tables."""
    lives = WEEKS * 7 * LIVES_A_DAY
    to_s = time.time() // 60 * 60
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in LIVES.split(";"):
            if statement.strip():
                text = statement.replace("%(n)s", str(services)).replace("%(lives)s", str(lives))
                connection.execute(text.encode())
        for low in range(1, services + 1, 50):
            bounds = {
                "blank": bytes(120), "mean": MEAN_A_MINUTE, "low": low, "high": low + 49,
                "from": _stamp(to_s - WEEKS * 7 * 86_400), "to": _stamp(to_s),
            }  # fmt: skip
            connection.execute(DEMAND, bounds)
        connection.execute(COUNTED)
        connection.execute("vacuum analyze")


def _stamp(time_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S+00", time.gmtime(time_s))


def crown(store: Store, settings: Settings) -> None:
    """One champion, trained, for all of them: their demand has one shape."""
    service, unit = settings.service[0].service(), load_unit_type(settings.models, UNIT)
    retrain_service(store, service, settings.retrain, time.time(), profile=unit.profile)
    with psycopg.connect(store.dsn, autocommit=True) as connection:
        rows = connection.execute(
            "select column_name from information_schema.columns where table_name = 'model'"
            " and column_name <> 'service_id' and is_identity = 'NO' order by ordinal_position"
        ).fetchall()
        columns = ", ".join(row[0] for row in rows)
        connection.execute(CHAMPIONS.format(columns=columns).encode())
        connection.execute("analyze model")


def settings_of(services: int) -> Settings:
    """That many services, alike."""
    slo = SloSettings(latency_p99_s=0.5)
    return Settings(
        service=tuple(
            ServiceSettings(
                name=f"service-{n:04d}", unit=UNIT, slo=slo, log_sample=LOG_SAMPLE, max_units=16
            )
            for n in range(1, services + 1)
        ),
        api=ApiSettings(port=0, requests_per_minute=0),
    )


class OneTable:
    """The sizing table of the first question serves all: the services are alike."""

    def __init__(self, folder: Path) -> None:
        self._tables = Tables(folder)
        self._made: SizingTable | None = None

    def __call__(self, _service: str, question: Question, max_units: int) -> SizingTable:
        """The table."""
        self._made = self._made or self._tables.table(question, max_units)
        return self._made


@contextmanager
def daemon_over(store: Store, folder: Path, settings: Settings) -> Iterator[tuple[Daemon, Board, DryRunActuator]]:  # fmt: skip
    """A daemon that leads, on a tier of paper; no job runs until it is told to."""
    clock, unit = SystemClock(), load_unit_type(settings.models, UNIT)
    tier = DryRunActuator(clock, [each.name for each in settings.service], lead_time_s=60.0)
    spool, tables = Spool(folder), OneTable(folder / "tables")
    pilots = [
        Pilot(
            each.service(), unit, settings,
            store=store, actuator=tier, clock=clock, spool=spool, tables=tables, settle_s=1.5,
        )
        for each in settings.service
    ]  # fmt: skip
    daemon = Daemon(
        settings, store=store, clock=clock, spool=spool, pilots=pilots,
        observer=Observer(store, tier), bookkeeper=Bookkeeper(store, ReplayRivals(store)),
        alarms=Alarms(store, clock, settings.alerts, pilots),
        leadership=Leadership(store.dsn, "bench"),
    )  # fmt: skip
    facts = {"version": "bench", "tier_url": "-", "speed": 1.0}
    board = Board(daemon, store, clock, clock.now_s() - 86_400, facts)
    daemon.on_requests = board.on_requests
    daemon.lead()
    try:
        yield daemon, board, tier
    finally:
        daemon.stop()


def ask(tier: DryRunActuator, settings: Settings, count: int, rng: np.random.Generator) -> None:
    """Requests of the last minute to services at random, as a tier logs them."""
    now_s = time.time()
    for n in rng.integers(len(settings.service), size=count).tolist():
        arrival_s = now_s - 60 * float(rng.random())
        tier.push_request(
            RequestRecord("", 0, settings.service[n].name, arrival_s, 0, 0, 0.1, 0.0, 0.1, "u", 200)
        )
