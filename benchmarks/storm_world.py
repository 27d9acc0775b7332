"""The world of the storm: a real tier, real daemons, a real database, and clients that never stop."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psycopg
from psycopg.conninfo import make_conninfo

from actuators.onnx_tier.client import OnnxTierActuator
from forecaster.config import Settings, load_settings
from forecaster.daemon.training import retrain_service
from forecaster.domain.demand import LogSource, RequestBatch
from forecaster.store import EmbeddedServer, Store
from forecaster.store.embedded import DATABASE
from forecaster.wiring.sessions import control_socket

CALM = "calm"
SERVICES = ("harbour", "quay")
MEAN_RPS, SWING, TIDE_S = 1.0, 0.9, 480.0
"""Requests/s of each service: a tide of eight minutes, the second service in the other phase."""
LOG_SAMPLE = 1 / 1000
HISTORY_DAYS = 3.2
SETTINGS = """
[api]
port = 0
[tier]
port = 0
max_units = 16
[planner]
tick_s = 1.0
replan_s = 10.0
drain_window_s = 20.0
stale_s = 60.0
horizon_s = 3600.0
[retrain]
members = ["profile", "ridge"]
slot_s = 60
cron = "0 0 1 1 *"
"""
SERVICE = """
[[service]]
name = "{name}"
unit = "mlp-classifier"
max_units = 7
log_sample = {sample}
[service.slo]
latency_p99_s = 0.5
"""


def rate_rps(number: int, time_s: float) -> float:
    """Requests/s of the service with this number."""
    return MEAN_RPS * (1 + SWING * math.sin(2 * math.pi * (time_s / TIDE_S + number / 2)))


@dataclass
class DaemonProcess:
    """One of the daemons: `tidegate daemon`, started anew whenever it was killed."""

    name: str
    world: World
    process: subprocess.Popen[str] | None = None
    paused: bool = False
    ready: bool = False
    exits: list[int] = field(default_factory=list)

    def start(self) -> None:
        """Start it; `ready` is set once it says its address."""
        log = self.world.folder / f"{self.name}.log"
        with log.open("a") as errors:
            self.process = subprocess.Popen(
                self.world.command("daemon"), env=self.world.environment(), text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                start_new_session=True,
            )  # fmt: skip
        threading.Thread(target=self._listen, args=(self.process,), daemon=True).start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith("}"):
                self.world.urls[self.name] = json.loads(said)["url"]
                self.world.says(self.name, "ready")
                self.ready = process is self.process and process.poll() is None
        process.stdout.close()

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: signal.Signals) -> None:
        """Make it end, and wait until it has."""
        assert self.process is not None
        self.ready = False
        with suppress(ProcessLookupError):
            self.send(number)
            self.send(signal.SIGCONT)
        self.exits.append(self.process.wait(30))

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0


@dataclass
class World:
    """Where the storm rages.

    Attributes
    ----------
    named : bool
        Whether daemons are told of the server as of one of the user's, which they do not start again.
    able : list
        (epoch seconds, who, "ready" | "out") of both daemons and the database: who could work when.
    """

    folder: Path
    server: EmbeddedServer
    settings: Settings
    named: bool = False
    able: list[tuple[float, str, str]] = field(default_factory=list)
    urls: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def command(self, name: str) -> list[str]:
        settings = str(self.folder / "tidegate.toml")
        return [sys.executable, "-m", "forecaster.cli", name, "--config", settings, "--format", "json"]  # fmt: skip

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("TIDEGATE_")}
        kept |= {"TIDEGATE_DSN": self.server.dsn} if self.named else {}
        return kept | {"TIDEGATE_HOME": str(self.home), "PYTHONUNBUFFERED": "1"}

    def says(self, who: str, what: str) -> None:
        """Note who can work from now on, or cannot."""
        self.able.append((time.time(), who, what))

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.server.dsn, autocommit=True, connect_timeout=2)


@contextmanager
def world(folder: Path, named: bool = False) -> Iterator[World]:
    """A database with history and champions, models, and a tier that outlives every daemon."""
    home = folder / "home"
    home.mkdir(exist_ok=True)  # it may be a file system of its own
    home.chmod(0o755)
    file = folder / "tidegate.toml"
    each = "".join(SERVICE.format(name=name, sample=LOG_SAMPLE) for name in SERVICES)
    file.write_text(SETTINGS + each)
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedServer(home))
        found = World(folder, server, load_settings(file), named)
        with Store.open(server.dsn) as store:
            store.migrate()
            learn(store, found.settings)
        copy_database(found, CALM)
        with (folder / "tier.log").open("a") as errors:
            tier = subprocess.Popen(
                found.command("tier"), env=found.environment(), stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
            )  # fmt: skip
        stack.callback(tier.wait, 30)
        stack.callback(tier.terminate)
        assert tier.stdout is not None
        for line in tier.stdout:
            if line.startswith("}"):
                break
        yield found
        tier.stdout.close()


def copy_database(found: World, name: str) -> None:
    """A database that the storm never reaches, as this one is now."""
    with psycopg.connect(make_conninfo(found.server.dsn, dbname="postgres"), autocommit=True) as it:
        it.execute(f"create database {name} template {DATABASE}".encode())


def learn(store: Store, settings: Settings) -> None:
    """Days of the same tide up to now, and a champion for each service."""
    now_s = time.time()
    rng = np.random.default_rng(7)
    for number, service in enumerate(settings.service):
        seconds = np.arange(int(now_s - HISTORY_DAYS * 86_400), int(now_s))
        rates = MEAN_RPS * (1 + SWING * np.sin(2 * np.pi * (seconds / TIDE_S + number / 2)))
        arrival_s = np.sort(np.repeat(seconds, rng.poisson(rates)) + 0.0)
        arrival_s += rng.random(arrival_s.size) * 0.999
        zeros = np.zeros(arrival_s.size, np.int64)
        batch = RequestBatch(service.name, np.sort(arrival_s), zeros, zeros)
        head = LogSource(0, 0, service.name, service.name, "history")
        store.append_requests(head, head, [batch])
        retrain_service(store, service.service(), settings.retrain, now_s)


@dataclass
class Clients:
    """Clients that ask at the tide's rate, in a thread of their own."""

    url: str
    seed: int
    outcomes: Counter[str] = field(default_factory=Counter)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Clients:
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ask no more, and wait for every answer."""
        self.stopping.set()
        self.thread.join()

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(base_url=self.url, timeout=60, limits=limits) as http:
            await asyncio.gather(*(self._tide(http, n, name) for n, name in enumerate(SERVICES)))

    async def _tide(self, http: httpx.AsyncClient, number: int, service: str) -> None:
        dice = random.Random(self.seed * 100 + number)
        sent: set[asyncio.Task[None]] = set()
        while not self.stopping.is_set():
            await asyncio.sleep(dice.expovariate(max(rate_rps(number, time.time()), 0.05)))
            task = asyncio.create_task(self._ask(http, service))
            sent.add(task)
            task.add_done_callback(sent.discard)
        await asyncio.gather(*sent)

    async def _ask(self, http: httpx.AsyncClient, service: str) -> None:
        tensor = {"name": "features", "datatype": "FP32", "shape": [1, 64], "data": [0.5] * 64}
        try:
            answer = await http.post(f"/v2/models/{service}/infer", json={"inputs": [tensor]})
            self.outcomes[str(answer.status_code)] += 1
        except httpx.HTTPError as error:
            self.outcomes[type(error).__name__] += 1


@dataclass
class Operator:
    """Somebody who pins and unpins over the API of either daemon: there is always an order to give."""

    found: World
    seed: int
    outcomes: Counter[str] = field(default_factory=Counter)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Operator:
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stopping.set()
        self.thread.join()

    def _run(self) -> None:
        dice = random.Random(self.seed)
        while not self.stopping.wait(dice.uniform(1.0, 5.0)):
            service, units = dice.choice(SERVICES), dice.randint(1, 7)
            url = self.found.urls.get(dice.choice(("one", "two")), "")
            path = f"{url}/v1/services/{service}/pin"
            try:
                if dice.random() < 0.7:
                    answer = httpx.put(path, json={"units": units, "seconds": 60.0}, timeout=5.0)
                else:
                    answer = httpx.delete(path, timeout=5.0)
                self.outcomes[str(answer.status_code)] += 1
            except (httpx.HTTPError, httpx.UnsupportedProtocol) as error:
                self.outcomes[type(error).__name__] += 1


def unpin(found: World) -> None:
    """Let the plan decide again."""
    with Store.open(found.server.dsn) as store:
        for name in SERVICES:
            store.take_pin(name, time.time())


def tier_of(found: World) -> OnnxTierActuator:
    """The tier, as its own record."""
    return OnnxTierActuator(control_socket(found.home), timeout_s=30.0)
