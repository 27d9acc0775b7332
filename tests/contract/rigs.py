"""Every adapter over its world, with handles by which a story brings disaster to that world.

A rig knows how its world denies capacity, starts slowly, loses a unit, is away, answers with the past, is changed by
somebody else meanwhile, and what in it serves. Time is the rig's own. Its adapter may be killed, and another one
begin on what that left behind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from actuators.dry_run import DryRunActuator
from actuators.dynamo.workers import WorkerFleet
from actuators.k8s.actuator import KubernetesActuator
from actuators.k8s.api import connect
from actuators.k8s.workload import Workload
from actuators.keda.pulled import PulledActuator
from actuators.open_inference.actuator import OpenInferenceActuator
from actuators.open_inference.following import Patience
from actuators.open_inference.watch import Model
from actuators.ray_serve.actuator import RayServeActuator
from actuators.ray_serve.api import RayServe, Target
from forecaster.domain.errors import ActuatorUnavailableError
from forecaster.domain.ports import Actuator
from tests.fake_kube_api import FakeCluster, is_ready, kubeconfig, replica, serving
from tests.fake_ray import FakeRay
from tests.fake_ray import serving as serving_ray
from tests.fake_repositories import FakeWorld
from tests.fake_repositories import serving as serving_repositories

START_S = 1_700_000_000.0
LEAD_S, DRAIN_S = 60.0, 10.0
GPUS = 12
ASKED_S = 5.0
"""Between two questions of KEDA or of a planner."""


class Rig(ABC):
    """An adapter and the handles of its world; time is the rig's own.

    Attributes
    ----------
    actuator : Actuator
        The adapter; nobody holds it while Tidegate is gone.
    """

    speed = 1.0

    def __init__(self, start_s: float) -> None:
        self.time_s = start_s
        self.actuator: Actuator

    def now_s(self) -> float:
        return self.time_s

    def advance(self, seconds: float) -> None:
        self.time_s += seconds

    @abstractmethod
    def back(self) -> None:
        """A new adapter on what the one that was killed left behind."""

    def killed(self) -> None:
        """The adapter ends without a word."""
        del self.actuator

    @abstractmethod
    def serving(self) -> set[str]:
        """Names of what serves in its world, whether Tidegate is there or not."""

    @abstractmethod
    def deny(self, on: bool) -> None:
        """Refuse capacity."""

    @abstractmethod
    def slow(self, on: bool) -> None:
        """Let starts take ten times as long."""

    @abstractmethod
    def vanish(self) -> None:
        """Lose a unit."""

    @abstractmethod
    def away(self, on: bool) -> None:
        """Do not answer."""

    def past(self, on: bool) -> None:
        """An adapter whose world cannot answer with the past is away instead."""
        self.away(on)

    def conflict(self) -> None:
        """Somebody else writes between look and order; where that cannot be, no time passes."""
        self.advance(0.0)


class Paper(Rig):
    """The dry run: the reference. It is its own world, and outlives who orders."""

    def __init__(self, start_s: float) -> None:
        super().__init__(start_s)
        self.dry = self.made()
        self.actuator = self.dry

    def made(self) -> DryRunActuator:
        return DryRunActuator(
            self, ["chat"], lead_time_s=LEAD_S, drain_time_s=DRAIN_S, max_units_total=GPUS
        )

    def back(self) -> None:
        self.actuator = self.dry

    def serving(self) -> set[str]:
        return {each.unit_id for each in self.dry.observe("chat").units if each.state == "ready"}

    def deny(self, on: bool) -> None:
        self.dry.deny = on

    def slow(self, on: bool) -> None:
        self.dry._lead_time_s = 10 * LEAD_S if on else LEAD_S

    def vanish(self) -> None:
        ready = [unit for unit in self.dry.observe("chat").units if unit.state == "ready"]
        self.dry.fail_unit(ready[0].unit_id, "gone")

    def away(self, on: bool) -> None:
        self.dry.unavailable = on


class Pulled(Paper):
    """Replicas of somebody who asks every 5 s how many there should be; no answer leaves them as they are.

    Attributes
    ----------
    ask : callable or None
        How he is answered; None: nobody is there.
    """

    def __init__(self, folder: Path, start_s: float) -> None:
        self.folder, self.lead_s = folder, LEAD_S
        self.ready_at_s: list[tuple[float, str]] = []
        self._begun = 0
        super().__init__(start_s)
        self.ask: Callable[[str], int] | None = self.fleet.wanted

    def made(self) -> DryRunActuator:
        self.fleet = self.made_of(self.folder)
        return self.fleet

    @abstractmethod
    def made_of(self, folder: Path) -> PulledActuator:
        """An adapter on the state folder."""

    def killed(self) -> None:
        super().killed()
        self.ask = None

    def back(self) -> None:
        self.dry = self.actuator = self.made()
        self.ask = self.fleet.wanted

    def serving(self) -> set[str]:
        return {name for at_s, name in self.ready_at_s if at_s <= self.time_s}

    def advance(self, seconds: float) -> None:
        self._asks()
        for _ in range(round(seconds / ASKED_S)):
            self.time_s += ASKED_S
            self._asks()

    def slow(self, on: bool) -> None:
        self.lead_s = 10 * LEAD_S if on else LEAD_S

    def tell(self) -> None:
        """What who asks says of its own accord."""

    def _asks(self) -> None:
        if self.ask is None:
            return
        with suppress(ActuatorUnavailableError):
            self.tell()
            told = self.ask("chat")
            self.ready_at_s = sorted(self.ready_at_s)[:told]
            for _ in range(told - len(self.ready_at_s)):
                self._begun += 1
                self.ready_at_s.append((self.time_s + self.lead_s, f"replica-{self._begun}"))


class Keda(Pulled):
    """KEDA; nothing is heard of single replicas."""

    def made_of(self, folder: Path) -> PulledActuator:
        return PulledActuator(self, {"chat": self.lead_s}, folder / "keda.json", GPUS)

    def slow(self, on: bool) -> None:
        super().slow(on)
        self.fleet._leads_s["chat"] = self.lead_s


class Dynamo(Pulled):
    """A planner, whose workers take their time."""

    def made_of(self, folder: Path) -> PulledActuator:
        self.workers = WorkerFleet(self, {"chat": LEAD_S}, folder / "dynamo.json", GPUS)
        return self.workers

    def tell(self) -> None:
        self.workers.heard("chat", len(self.serving()))


class Kube(Rig):
    """Pods of a workload."""

    def __init__(self, kind: str, folder: Path, stack: ExitStack, start_s: float) -> None:
        super().__init__(start_s)
        self.cluster = FakeCluster(
            gpus=GPUS, start_s=LEAD_S / 3, ready_s=2 * LEAD_S / 3, grace_s=DRAIN_S, now_s=start_s
        )
        self.cluster.workload(f"{kind.lower()}s", "chat")
        url = stack.enter_context(serving(self.cluster))
        self.kind, self.config = kind, kubeconfig(url, folder)
        self.back()

    def back(self) -> None:
        self.actuator = KubernetesActuator(
            connect(self.config, "", "ml"),
            self,
            {"chat": Workload(self.kind, "chat")},
            pause=lambda _: self.cluster.settle(),
        )

    def serving(self) -> set[str]:
        pods = [each for each in self.cluster.pods("chat") if replica(each) and is_ready(each)]
        return {each["metadata"]["name"] for each in pods}

    def advance(self, seconds: float) -> None:
        self.cluster.advance(seconds, step_s=DRAIN_S)
        self.time_s = self.cluster.now_s

    def deny(self, on: bool) -> None:
        self.cluster.gpus = len(self.cluster.pods()) if on else GPUS

    def slow(self, on: bool) -> None:
        self.cluster.ready_s = (10 * LEAD_S if on else LEAD_S) - LEAD_S / 3

    def vanish(self) -> None:
        del self.cluster.objects["pods", self.cluster.pods()[-1]["metadata"]["name"]]
        self.cluster.settle()  # its controller makes another

    def away(self, on: bool) -> None:
        self.cluster.away = on

    def past(self, on: bool) -> None:
        self.cluster.stale = on

    def conflict(self) -> None:
        self.cluster.conflicts = 1


class Models(Rig):
    """Models on servers with the repository extension."""

    def __init__(self, folder: Path, stack: ExitStack, start_s: float) -> None:
        super().__init__(start_s)
        self.world, self.folder = FakeWorld(GPUS, ("chat",), LEAD_S, start_s), folder
        stack.enter_context(serving_repositories(self.world))
        stack.callback(lambda: self.models.close())
        self.back()

    def killed(self) -> None:
        super().killed()
        self.models.close()  # its threads are its own: what they began on the servers goes on there

    def back(self) -> None:
        patience = Patience(route_s=DRAIN_S, drain_s=DRAIN_S)
        self.models = OpenInferenceActuator(
            self.world.hosts, self.world, {"chat": Model("chat")}, self.folder, patience=patience
        )
        self.actuator = self.models

    def serving(self) -> set[str]:
        each = zip(self.world.urls, self.world.servers, strict=True)
        return {url for url, server in each if server.states["chat"] == "READY"}

    def advance(self, seconds: float) -> None:
        self.world.advance(seconds, self.models)
        self.time_s = self.world.now_s()

    def deny(self, on: bool) -> None:
        for server in self.world.servers:
            server.away = on and server.states["chat"] == "UNAVAILABLE"

    def slow(self, on: bool) -> None:
        self.world.load_s = 10 * LEAD_S if on else LEAD_S

    def vanish(self) -> None:
        ready = [each for each in self.world.servers if each.states["chat"] == "READY"]
        ready[0].states["chat"] = "UNAVAILABLE"

    def away(self, on: bool) -> None:
        for server in self.world.servers:
            server.away = on


class Ray(Rig):
    """Replicas of Ray Serve."""

    def __init__(self, folder: Path, stack: ExitStack, start_s: float) -> None:
        super().__init__(start_s)
        self.ray, self.folder = FakeRay(("chat",), GPUS, LEAD_S, DRAIN_S, start_s), folder
        self.url = stack.enter_context(serving_ray(self.ray))
        stack.callback(lambda: self.adapter.close())
        self.back()

    def killed(self) -> None:
        super().killed()
        self.adapter.close()

    def back(self) -> None:
        self.adapter = RayServeActuator(
            RayServe(self.url), self.ray, {"chat": Target("chat", "chat")}, self.folder,
            pause=lambda _: self.ray.settle(),
        )  # fmt: skip
        self.actuator = self.adapter

    def serving(self) -> set[str]:
        return {each.replica_id for each in self.ray.replicas["chat"] if each.state == "RUNNING"}

    def advance(self, seconds: float) -> None:
        self.ray.advance(seconds, DRAIN_S)
        self.time_s = self.ray.now_s()

    def deny(self, on: bool) -> None:
        self.ray.gpus = len(self.ray.replicas["chat"]) if on else GPUS

    def slow(self, on: bool) -> None:
        self.ray.load_s = 10 * LEAD_S if on else LEAD_S

    def vanish(self) -> None:
        del self.ray.replicas["chat"][-1]
        self.ray.settle()  # Ray Serve begins another

    def away(self, on: bool) -> None:
        self.ray.away = on


MAKERS: dict[str, Callable[[Path, ExitStack, float], Rig]] = {
    "dry run": lambda folder, stack, start_s: Paper(start_s),
    "keda": lambda folder, stack, start_s: Keda(folder, start_s),
    "dynamo": lambda folder, stack, start_s: Dynamo(folder, start_s),
    "deployment": lambda folder, stack, start_s: Kube("Deployment", folder, stack, start_s),
    "statefulset": lambda folder, stack, start_s: Kube("StatefulSet", folder, stack, start_s),
    "models": lambda folder, stack, start_s: Models(folder, stack, start_s),
    "ray": lambda folder, stack, start_s: Ray(folder, stack, start_s),
    "leaderworkerset": lambda folder, stack, start_s: Kube(
        "LeaderWorkerSet", folder, stack, start_s
    ),
}
"""By name; a folder for its state, who ends what it starts, and when it begins, epoch seconds."""
