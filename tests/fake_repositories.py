"""Servers with the model repository extension that load by the clock of a test: a named fake.

What the real ones do is in ``tests/integration/test_open_inference.py``, which runs the same client on Triton and
MLServer.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from actuators.open_inference.actuator import OpenInferenceActuator
from actuators.open_inference.host import Host
from tests.local_server import json_api, listening

SHAPE = [-1, 4]


class FakeRepository:
    """One server.

    Attributes
    ----------
    away : bool
        Answers nothing but 503.
    refuses : str
        Every load fails with these words.
    waiting, answered : int
        What its metrics say.
    """

    def __init__(self, world: FakeWorld, models: tuple[str, ...]) -> None:
        self.world, self.away, self.refuses = world, False, ""
        self.states = dict.fromkeys(models, "UNAVAILABLE")
        self.waiting = self.answered = 0
        self.warmed: list[str] = []

    def load(self, model: str) -> tuple[int, Any]:
        if self.refuses:
            return 400, {"error": self.refuses}
        with self.world.turn:
            self.states[model] = "LOADING"
            due_s = self.world.time_s + self.world.load_s
            self.world.loading.append(due_s)
            self.world.turn.wait_for(lambda: self.world.time_s >= due_s or self.world.over)
            self.states[model] = "READY"
            self.world.loading.remove(due_s)
        return 200, {}

    def answer(self, verb: str, path: str, body: Any) -> tuple[int, Any]:
        if self.away:
            return 503, {"error": "away"}
        parts = path.strip("/").split("/")
        if path == "/v2/repository/index":
            return 200, [{"name": n, "version": "1", "state": s} for n, s in self.states.items()]
        if path == "/metrics":
            return 200, (
                f'nv_inference_pending_request_count{{model="{next(iter(self.states))}"}} {self.waiting}\n'
                f'nv_inference_request_success{{model="{next(iter(self.states))}"}} {self.answered}\n'
            )
        model = parts[3] if parts[1] == "repository" else parts[2]
        if model not in self.states:
            return 404, {"error": f"{model} is unknown"}
        if parts[-1] == "load":
            return self.load(model)
        if parts[-1] == "unload":
            self.states[model] = "UNAVAILABLE"
            return 200, {}
        if self.states[model] != "READY":
            return 404, {"error": "not ready"}
        if parts[-1] == "infer":
            assert [len(each["data"]) for each in body["inputs"]] == [4]
            self.warmed.append(model)
            return 200, {"outputs": []}
        return 200, {"inputs": [{"name": "x", "datatype": "FP32", "shape": SHAPE}]}


class FakeWorld:
    """Several servers on one clock.

    Attributes
    ----------
    load_s : float
        How long a load takes.
    """

    speed = 1.0

    def __init__(self, count: int, models: tuple[str, ...], load_s: float, now_s: float) -> None:
        self.time_s, self.load_s, self.over = now_s, load_s, False
        self.turn = threading.Condition()
        self.loading: list[float] = []
        self.servers = [FakeRepository(self, models) for _ in range(count)]
        self.urls: list[str] = []

    @property
    def hosts(self) -> list[Host]:
        return [Host(url, f"{url}/metrics") for url in self.urls]

    def now_s(self) -> float:
        return self.time_s

    def advance(self, seconds: float, actuator: OpenInferenceActuator) -> None:
        """Let time pass, and what is due by then be done on the adapter's side as well."""
        self._settle(actuator)  # what was begun before has begun
        with self.turn:
            self.time_s += seconds
            self.turn.notify_all()
        self._settle(actuator)

    def _settle(self, actuator: OpenInferenceActuator) -> None:
        """Wait until only loads that are not due keep the adapter's threads."""
        jobs = actuator._work._jobs.values()
        while True:
            with self.turn:
                pending = sum(due_s > self.time_s for due_s in self.loading)
            if sum(not job.done() for job in jobs) <= pending:
                return
            concurrent.futures.wait(list(jobs), timeout=0.005)


@contextmanager
def serving(world: FakeWorld) -> Iterator[FakeWorld]:
    """The servers on ports of their own."""
    with ExitStack() as stack:
        for server in world.servers:
            port = stack.enter_context(listening(json_api(server.answer)))
            world.urls.append(f"http://127.0.0.1:{port}")
        try:
            yield world
        finally:
            with world.turn:
                world.over = True
                world.turn.notify_all()
