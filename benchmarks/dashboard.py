"""How the API and the overview page do with many services.

python -m benchmarks.dashboard [services] [clients]

The store holds four weeks of units' lives and tariffs of each service; nothing is trained or planned:
what is measured is reading and drawing.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psycopg
from playwright.sync_api import sync_playwright

from actuators.dry_run import DryRunActuator
from benchmarks.screenshot import FLAGS
from forecaster.clock import SystemClock
from forecaster.config import Settings, load_unit_type
from forecaster.config.settings import ApiSettings, ServiceSettings, SloSettings
from forecaster.daemon.alarms import Alarms
from forecaster.daemon.board import Board
from forecaster.daemon.bookkeeper import Bookkeeper
from forecaster.daemon.observer import Observer
from forecaster.daemon.pilot import Pilot
from forecaster.daemon.service import Daemon
from forecaster.daemon.spool import Spool
from forecaster.store import EmbeddedServer, Store
from forecaster.store.leadership import Leadership
from forecaster.wiring.running import serve_api

WEEKS, LIVES_A_DAY = 4, 4
HISTORY = """
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
analyze;
"""


def main(services: int, clients: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="tidegate-many-"))
    folder.chmod(0o755)
    server = EmbeddedServer(folder / "postgres")
    try:
        with Store.open(server.start()) as store:
            store.migrate()
            fill(store.dsn, services)
            board, settings = make_board(store, folder, services)
            with serve_api(settings, board) as url:
                measure(url, clients)
    finally:
        server.stop()


def fill(dsn: str, services: int) -> None:
    lives = WEEKS * 7 * LIVES_A_DAY
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in HISTORY.split(";"):
            if statement.strip():
                text = statement.replace("%(n)s", str(services)).replace("%(lives)s", str(lives))
                connection.execute(text.encode())


def make_board(store: Store, folder: Path, services: int) -> tuple[Board, Settings]:
    names = [f"service-{n:04d}" for n in range(1, services + 1)]
    slo = SloSettings(ttft_p99_s=1.0, tpot_p99_s=0.1)
    configured = tuple(ServiceSettings(name=each, unit="tiny-llama", slo=slo) for each in names)
    settings = Settings(service=configured, api=ApiSettings(port=0))
    clock, unit = SystemClock(), load_unit_type(settings.models, "llama70b-h100x8")
    tier = DryRunActuator(clock, names)
    spool = Spool(folder)
    leadership = Leadership(store.dsn, "bench")
    pilots = [
        Pilot(
            each.service(), unit, settings,
            store=store, actuator=tier, clock=clock, spool=spool, tables=no_table,
            settle_s=1.5,
        )
        for each in configured
    ]  # fmt: skip
    daemon = Daemon(
        settings, store=store, clock=clock, spool=spool, pilots=pilots,
        observer=Observer(store, tier), bookkeeper=Bookkeeper(store, Nobody()),
        alarms=Alarms(store, clock, settings.alerts, pilots), leadership=leadership,
    )  # fmt: skip
    started_s = clock.now_s() - 86_400
    return Board(
        daemon, store, clock, started_s, {"version": "bench", "tier_url": "-", "speed": 1.0}
    ), settings


class Nobody:
    """No rivals."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def no_table(*_: object) -> Any:
    raise AssertionError("nothing is sized here")


def measure(url: str, clients: int) -> None:
    with httpx.Client(base_url=url, timeout=600) as http:
        for path in ("/v1/services", "/v1/services/service-0001", "/v1/money"):
            spent = []
            for _ in range(5):
                begin = time.perf_counter()
                size = len(http.get(path).content)
                spent.append(time.perf_counter() - begin)
            print(f"{path}: {np.median(spent):.3f} s (first {spent[0]:.3f}), {size / 1e3:.0f} kB")
        print(
            f"{clients} event streams: {streams(url, clients):.2f} s between two events, slowest median"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page()
        begin = time.perf_counter()
        page.goto(url + "/#overview")
        page.wait_for_selector("#service-table tbody th a", timeout=600_000)
        print(f"overview page: {time.perf_counter() - begin:.2f} s to the first line")
        browser.close()


def streams(url: str, clients: int, events: int = 6) -> float:
    gaps: list[float] = []

    def listen() -> None:
        seen: list[float] = []
        with httpx.stream("GET", f"{url}/v1/events", timeout=600) as stream:
            for line in stream.iter_lines():
                if line.startswith("event: overview"):
                    seen.append(time.perf_counter())
                if len(seen) == events:
                    break
        gaps.append(float(np.median(np.diff(seen))))

    threads = [threading.Thread(target=listen) for _ in range(clients)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return max(gaps)


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    main(*(given + [2000, 100][len(given) :]))
