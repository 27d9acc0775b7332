"""How the daemon, the API and the overview page do with many services, on the cores that there are.

python -m benchmarks.dashboard [services] [clients] [folder that is kept, and used again]

With 0 clients only the overview page is timed, after the first tick: few plans are made by then.

The store holds four weeks of demand, units' lives and a champion of each service; a daemon plans and steers all of
them on a tier of paper. Ticks are timed alone; the API is asked while ticks and plans go on beside it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from playwright.sync_api import sync_playwright

from actuators.dry_run import DryRunActuator
from benchmarks.many_services import ask, crown, daemon_over, fill, settings_of
from benchmarks.screenshot import FLAGS
from forecaster.config import Settings
from forecaster.daemon.service import Daemon
from forecaster.store import EmbeddedServer, Store
from forecaster.wiring.running import serve_api

TICKS, TICK_S = 8, 60.0
A_TICK = 600
"""Requests that a tick finds in the log."""
QUERIES = 400
EVENTS = 5
"""Overviews that each listener waits for."""


def main(services: int, clients: int, kept: str = "") -> None:
    folder = Path(kept or tempfile.mkdtemp(prefix="tidegate-many-"))
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    filled = (folder / "postgres").exists()
    server = EmbeddedServer(folder / "postgres")
    settings = settings_of(services)
    try:
        with Store.open(server.start()) as store:
            store.migrate()
            if not filled:
                said("fill the store", lambda: fill(store.dsn, services))
                said("one champion for each", lambda: crown(store, settings))
            with daemon_over(store, folder, settings) as (daemon, board, tier):
                said("first tick", daemon.tick)
                if not clients:
                    with serve_api(settings, board) as url:
                        overview(url, "alone, few plans made")
                    return
                said("every forecaster fitted, every plan made", daemon.replan)
                ticks(daemon, tier, settings)
                with serve_api(settings, board) as url:
                    measure(url, clients, Steering(daemon, tier, settings))
    finally:
        server.stop()


def said(what: str, work: Callable[[], object]) -> float:
    """Do it, and say how long it took."""
    begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
    work()
    seconds, cpu_s = time.perf_counter() - begin_s, time.process_time() - begin_cpu_s
    print(f"{what}: {seconds:.2f} s ({cpu_s:.2f} CPU-s; load {os.getloadavg()[0]:.1f})", flush=True)
    return seconds


def ticks(daemon: Daemon, tier: DryRunActuator, settings: Settings) -> None:
    rng = np.random.default_rng(1)
    spent = []
    for _ in range(TICKS):
        ask(tier, settings, A_TICK, rng)
        begin_s = time.perf_counter()
        daemon.tick()
        spent.append(time.perf_counter() - begin_s)
    print(f"tick: median {np.median(spent):.2f} s, worst of {TICKS} {max(spent):.2f} s,"
          f" the first {spent[0]:.2f} s;"
          f" {len(daemon.failures)} failures, load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
    said("new plans for all", daemon.replan)


class Steering:
    """Ticks every minute and plans every five, as the daemon's schedule does."""

    def __init__(self, daemon: Daemon, tier: DryRunActuator, settings: Settings) -> None:
        self.daemon, self.tier, self.settings = daemon, tier, settings
        self.over = threading.Event()

    def __enter__(self) -> Steering:
        self.threads = [
            threading.Thread(target=self._every, args=(TICK_S / 2, TICK_S, self._tick)),
            threading.Thread(target=self._every, args=(0.0, 5 * TICK_S, self.daemon.replan)),
        ]
        for each in self.threads:
            each.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.over.set()
        self.daemon._over.set()
        for each in self.threads:
            each.join()

    def _tick(self) -> None:
        ask(self.tier, self.settings, A_TICK, np.random.default_rng(2))
        self.daemon.tick()

    def _every(self, first_s: float, seconds: float, work: Callable[[], None]) -> None:
        wait_s = first_s
        while not self.over.wait(wait_s):
            begin_s = time.monotonic()
            work()
            wait_s = max(seconds - (time.monotonic() - begin_s), 0.0)


def measure(url: str, clients: int, steering: Steering) -> None:
    with httpx.Client(base_url=url, timeout=600) as http:
        for path in ("/v1/services", "/v1/services/service-0001", "/v1/money"):
            spent = [asked(http, path) for _ in range(5)]
            print(f"{path}: {np.median(spent):.3f} s (first {spent[0]:.3f})", flush=True)
        forecasts(http, "alone")
        with steering:
            forecasts(http, "beside ticks and plans", seconds=2 * TICK_S)
            overview(url, "beside ticks and plans")
            with listeners(url, clients, EVENTS) as running:
                forecasts(http, f"beside {clients} clients")
                gap_s = float(running.communicate()[0])
            print(f"{clients} event streams: {gap_s:.2f} s between two events, slowest median")
            with listeners(url, clients):
                overview(url, f"beside {clients} clients")
    overview(url, "alone")


def asked(http: httpx.Client, path: str) -> float:
    begin_s = time.perf_counter()
    http.get(path).raise_for_status()
    return time.perf_counter() - begin_s


def forecasts(http: httpx.Client, how: str, seconds: float = 0.0) -> None:
    names = [each["name"] for each in http.get("/v1/services").json()["services"]]
    rng, end_s = np.random.default_rng(3), time.monotonic() + seconds
    spent: list[float] = []
    while len(spent) < QUERIES or time.monotonic() < end_s:
        spent.append(asked(http, f"/v1/services/{names[rng.integers(len(names))]}/forecast"))
        time.sleep(0.02)
    ms = 1000 * np.array(spent)
    print(f"forecast of a day, {how}: p50 {np.median(ms):.1f}, p95 {np.quantile(ms, 0.95):.1f},"
          f" worst {ms.max():.0f} ms of {ms.size}", flush=True)  # fmt: skip


def overview(url: str, how: str) -> None:
    spent = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        for _ in range(3):
            page = browser.new_page()
            begin_s = time.perf_counter()
            page.goto(url + "/#overview")
            page.wait_for_selector("#service-table tbody th a", timeout=600_000)
            spent.append(time.perf_counter() - begin_s)
            page.close()
        browser.close()
    print(f"overview page, {how}: {np.median(spent):.2f} s to the first line, median of 3"
          f" (first {spent[0]:.2f})", flush=True)  # fmt: skip


@contextmanager
def listeners(url: str, clients: int, events: int = 0) -> Iterator[subprocess.Popen[str]]:
    """Clients of the event stream, in a process of their own, once all of them listen."""
    command = [sys.executable, "-m", "benchmarks.listeners", url, str(clients), str(events)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        running.stdout.readline()
        try:
            yield running
        finally:
            running.terminate()


if __name__ == "__main__":
    given = [*sys.argv[1:], *("2000", "100", "")[len(sys.argv) - 1 :]]
    main(int(given[0]), int(given[1]), given[2])
