"""Ray Serve's REST interface by the clock of a test: a named fake.

What the real one does is in ``tests/integration/test_ray_serve.py``, which runs the same client on a local Ray.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.local_server import json_api, listening


@dataclass
class FakeReplica:
    replica_id: str
    started_s: float
    state: str = "STARTING"
    due_s: float = 0.0


class FakeRay:
    """A cluster with a number of GPUs; each replica takes one.

    Attributes
    ----------
    gpus : int
        Of all nodes.
    load_s, stop_s : float
        From begun to running, from told to ended.
    away : bool
        Answers 503.
    external : bool
        Whether the applications let others scale them.
    quick : bool
        Replicas are gone before they were seen to stop.
    """

    speed = 1.0

    def __init__(
        self, names: tuple[str, ...], gpus: int, load_s: float, stop_s: float, now_s: float
    ):
        self.gpus, self.load_s, self.stop_s, self.time_s = gpus, load_s, stop_s, now_s
        self.away, self.external, self.quick = False, True, False
        self.wanted = dict.fromkeys(names, 0)
        self.replicas: dict[str, list[FakeReplica]] = {name: [] for name in names}
        self._made = 0

    def now_s(self) -> float:
        return self.time_s

    def advance(self, seconds: float, step_s: float = 10.0) -> None:
        """Let time pass in steps."""
        end_s = self.time_s + seconds
        while self.time_s < end_s:
            self.time_s = min(self.time_s + step_s, end_s)
            self.settle()

    def settle(self) -> None:
        """What is due by now."""
        taken = sum(len(each) for each in self.replicas.values())
        for name, own in self.replicas.items():
            for each in list(own):
                if each.state == "STARTING" and each.due_s <= self.time_s:
                    each.state = "RUNNING"
                if each.state == "STOPPING" and each.due_s <= self.time_s:
                    own.remove(each)
            stays = [each for each in own if each.state != "STOPPING"]
            # Ray Serve ends what does not run yet first
            stays.sort(key=lambda each: (each.state == "RUNNING", -each.started_s))
            for each in stays[: max(len(stays) - self.wanted[name], 0)]:
                waited = each.state == "STARTING"
                each.state, each.due_s = "STOPPING", self.time_s + (0 if waited else self.stop_s)
            for _ in range(self.wanted[name] - len(stays)):
                if taken >= self.gpus:
                    break
                self._made += 1
                taken += 1
                due_s = self.time_s + self.load_s
                own.append(FakeReplica(f"r{self._made}", self.time_s, due_s=due_s))

    def answer(self, verb: str, path: str, body: Any) -> tuple[int, Any]:
        if self.away:
            return 503, {"error": "away"}
        if verb == "POST":
            name = path.split("/")[4]
            if not self.external:
                return 412, {"error": "not external"}
            self.wanted[name] = body["target_num_replicas"]
            self.settle()
            if self.quick:
                self.settle()  # who stops at once is gone before anybody looks
            return 200, {"message": "Scaling request received."}
        if path.startswith("/nodes"):
            node = {"state": "ALIVE", "resourcesTotal": {"GPU": float(self.gpus), "CPU": 8.0}}
            return 200, {"data": {"summary": [{"raylet": node}]}}
        return 200, {"applications": {name: self._application(name) for name in self.wanted}}

    def _application(self, name: str) -> dict[str, Any]:
        replicas = [
            {"replica_id": each.replica_id, "state": each.state, "start_time_s": each.started_s}
            for each in self.replicas[name]
        ]
        deployment = {
            "target_num_replicas": self.wanted[name], "replicas": replicas, "message": "",
            "required_resources": {"GPU": 1},
        }  # fmt: skip
        return {"external_scaler_enabled": self.external, "deployments": {name: deployment}}


@contextmanager
def serving(ray: FakeRay) -> Iterator[str]:
    """The dashboard's address."""
    with listening(json_api(ray.answer)) as port:
        yield f"http://127.0.0.1:{port}"
