"""One day's plan and its disasters through every adapter: the same unit counts, no flapping.

Each adapter brings a rig that knows how its world denies capacity, starts slowly, loses a unit, is away,
answers with the past, and is changed by somebody else meanwhile.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

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
from forecaster.domain.errors import ActuatorUnavailableError, CapacityDeniedError
from forecaster.domain.lifecycle import WARMING_STATES
from forecaster.domain.plan import Binding, Reason, SlotPlan, TideTable, Verb
from forecaster.domain.ports import Actuator
from forecaster.domain.service import Limits
from forecaster.domain.units import Fleet
from forecaster.planning.decide import decide
from forecaster.planning.policy import Policy
from tests.fake_kube_api import FakeCluster, kubeconfig, serving
from tests.fake_ray import FakeRay
from tests.fake_ray import serving as serving_ray
from tests.fake_repositories import FakeWorld
from tests.fake_repositories import serving as serving_repositories

START_S = 1_700_000_000.0
LEAD_S, DRAIN_S = 60.0, 10.0
MINUTES = 300
GPUS = 12
LOW, HIGH = 2, 10
DENIED, SLOW, VANISHED = range(40, 60), range(169, 172), 150
AWAY, PAST, CONFLICT = range(180, 190), range(205, 208), 230
DENIED_KEPT_MIN = 15
ASKED_S = 5.0


class Rig(ABC):
    """An adapter and the handles of its world; time is the rig's own."""

    speed = 1.0

    def __init__(self) -> None:
        self.time_s = START_S
        self.actuator: Actuator

    def now_s(self) -> float:
        return self.time_s

    def advance(self, seconds: float) -> None:
        self.time_s += seconds

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
    """The dry run: the reference."""

    def __init__(self) -> None:
        super().__init__()
        self.dry = self.made()
        self.actuator = self.dry

    def made(self) -> DryRunActuator:
        return DryRunActuator(
            self, ["chat"], lead_time_s=LEAD_S, drain_time_s=DRAIN_S, max_units_total=GPUS
        )

    def deny(self, on: bool) -> None:
        self.dry.deny = on

    def slow(self, on: bool) -> None:
        self.dry._lead_time_s = 10 * LEAD_S if on else LEAD_S

    def vanish(self) -> None:
        ready = [unit for unit in self.dry.observe("chat").units if unit.state == "ready"]
        self.dry.fail_unit(ready[0].unit_id, "gone")

    def away(self, on: bool) -> None:
        self.dry.unavailable = on


class Keda(Paper):
    def __init__(self, folder: Path) -> None:
        self.file, self.leads_s = folder / "keda.json", {"chat": LEAD_S}
        super().__init__()

    def made(self) -> DryRunActuator:
        made = PulledActuator(self, self.leads_s, self.file, GPUS)
        self.leads_s = made._leads_s
        return made

    def slow(self, on: bool) -> None:
        self.leads_s["chat"] = 10 * LEAD_S if on else LEAD_S


class Dynamo(Paper):
    """A planner that asks every 5 s, and workers that take their time."""

    def __init__(self, folder: Path) -> None:
        self.file, self.lead_s = folder / "dynamo.json", LEAD_S
        self.ready_at_s: list[float] = []
        super().__init__()

    def made(self) -> DryRunActuator:
        self.fleet = WorkerFleet(self, {"chat": LEAD_S}, self.file, GPUS)
        return self.fleet

    def advance(self, seconds: float) -> None:
        self._ask()
        for _ in range(round(seconds / ASKED_S)):
            self.time_s += ASKED_S
            self._ask()

    def slow(self, on: bool) -> None:
        self.lead_s = 10 * LEAD_S if on else LEAD_S

    def _ask(self) -> None:
        try:
            self.fleet.heard("chat", sum(at_s <= self.time_s for at_s in self.ready_at_s))
            told = self.fleet.wanted("chat")
        except ActuatorUnavailableError:
            return  # the workers stay as they are
        self.ready_at_s = sorted(self.ready_at_s)[:told]
        self.ready_at_s += [self.time_s + self.lead_s] * (told - len(self.ready_at_s))


class Kube(Rig):
    def __init__(self, kind: str, folder: Path, stack: ExitStack) -> None:
        super().__init__()
        self.cluster = FakeCluster(
            gpus=GPUS, start_s=LEAD_S / 3, ready_s=2 * LEAD_S / 3, grace_s=DRAIN_S, now_s=START_S
        )
        self.cluster.workload(f"{kind.lower()}s", "chat")
        url = stack.enter_context(serving(self.cluster))
        self.actuator = KubernetesActuator(
            connect(kubeconfig(url, folder), "", "ml"),
            self,
            {"chat": Workload(kind, "chat")},
            pause=lambda _: self.cluster.settle(),
        )

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

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        super().__init__()
        self.world = FakeWorld(GPUS, ("chat",), LEAD_S, START_S)
        stack.enter_context(serving_repositories(self.world))
        patience = Patience(route_s=DRAIN_S, drain_s=DRAIN_S)
        self.models = OpenInferenceActuator(
            self.world.hosts, self.world, {"chat": Model("chat")}, folder, patience=patience
        )
        stack.enter_context(closing(self.models))
        self.actuator = self.models

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

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        super().__init__()
        self.ray = FakeRay(("chat",), GPUS, LEAD_S, DRAIN_S, START_S)
        api = RayServe(stack.enter_context(serving_ray(self.ray)))
        self.actuator = stack.enter_context(
            closing(
                RayServeActuator(
                    api, self.ray, {"chat": Target("chat", "chat")}, folder,
                    pause=lambda _: self.ray.settle(),
                )
            )
        )  # fmt: skip

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


MAKERS: dict[str, Callable[[Path, ExitStack], Rig]] = {
    "dry run": lambda folder, stack: Paper(),
    "keda": lambda folder, stack: Keda(folder),
    "dynamo": lambda folder, stack: Dynamo(folder),
    "deployment": lambda folder, stack: Kube("Deployment", folder, stack),
    "statefulset": lambda folder, stack: Kube("StatefulSet", folder, stack),
    "models": lambda folder, stack: Models(folder, stack),
    "ray": lambda folder, stack: Ray(folder, stack),
    "leaderworkerset": lambda folder, stack: Kube("LeaderWorkerSet", folder, stack),
}


def wanted(at_s: float) -> int:
    """Two tides in five hours."""
    turn = 2 * math.pi * (at_s - START_S) / (MINUTES * 30)
    return round(LOW + (HIGH - LOW) * (1 - math.cos(turn)) / 2)


def plan(now_s: float) -> TideTable:
    first = now_s // 60 * 60
    slots = tuple(
        SlotPlan(s, 1.0, 1.0, 1.0, wanted(s), wanted(s), 0.0, Reason.LOAD, Binding.TTFT)
        for s in (first + 60 * index for index in range(60))
    )
    return TideTable("chat", now_s, 60.0, LEAD_S, now_s, HIGH, 100.0, slots)


class Day:
    """What happened, minute by minute."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.supply: list[int | None] = []
        self.orders: list[tuple[int, Verb]] = []
        self.errors: dict[int, str] = {}
        self._denied = -DENIED_KEPT_MIN
        for minute in range(MINUTES):
            self._disaster(minute)
            self._tick(minute)
            rig.advance(60.0)

    def _disaster(self, minute: int) -> None:
        rig = self.rig
        for span, switch in (
            (DENIED, rig.deny),
            (SLOW, rig.slow),
            (AWAY, rig.away),
            (PAST, rig.past),
        ):
            if minute in (span.start, span.stop):
                switch(minute == span.start)
        if minute == VANISHED:
            rig.vanish()
        if minute == CONFLICT:
            rig.conflict()

    def _tick(self, minute: int) -> None:
        """As a pilot ticks."""
        try:
            fleet = self.rig.actuator.observe("chat")
        except ActuatorUnavailableError as error:
            self.errors[minute] = str(error)
            self.supply.append(None)
            return
        now_s = self.rig.now_s()
        denied = minute - self._denied < DENIED_KEPT_MIN
        policy = Policy(Limits(LOW, GPUS), lead_time_s=LEAD_S, denied=denied)
        decision = decide(plan(now_s), fleet, policy, now_s)
        if decision.verb is not Verb.HOLD:
            self.orders.append((minute, decision.verb))
            act = (
                self.rig.actuator.prewarm
                if decision.verb is Verb.PREWARM
                else self.rig.actuator.drain
            )
            try:
                act("chat", decision.units, reason="story", order_key=f"{minute}")
            except CapacityDeniedError as error:
                self._denied, self.errors[minute] = minute, str(error)
        fleet = self.rig.actuator.observe("chat")
        self.supply.append(fleet.ready + fleet.warming - slow(fleet))


def slow(fleet: Fleet) -> int:
    return sum(
        unit.state in WARMING_STATES and fleet.observed_s - unit.ordered_s > 3 * LEAD_S
        for unit in fleet.units
    )


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Day]]:
    with ExitStack() as stack:
        yield {
            name: Day(make(tmp_path_factory.mktemp("story"), stack))
            for name, make in MAKERS.items()
        }


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "dry run"])
def test_every_adapter_has_the_same_units_at_every_minute(days: dict[str, Day], name: str) -> None:
    reference, day = days["dry run"], days[name]
    assert day.supply == reference.supply
    ours = [order for order in reference.orders if order[0] != VANISHED]
    theirs = [
        order for order in day.orders if order[0] != VANISHED
    ]  # Kubernetes replaces it itself
    assert theirs == ours
    assert sorted(day.errors) == sorted(reference.errors)


@pytest.mark.parametrize("name", list(MAKERS))
def test_disasters_are_seen_and_nothing_is_scaled_in_by_them(
    days: dict[str, Day], name: str
) -> None:
    day = days[name]
    assert {*AWAY, *PAST} <= set(day.errors)
    assert any(minute in DENIED for minute in day.errors)
    assert [minute for minute, _ in day.orders if SLOW.start <= minute < SLOW.stop + 4] == [
        170,
        174,
    ]
    for span in (AWAY, PAST):
        before, after = day.supply[span.start - 1], day.supply[span.stop]
        assert before is not None
        assert after is not None
        assert after >= min(before, wanted(START_S + 60 * span.stop))
        assert not [verb for minute, verb in day.orders if minute in span]
    turns = sum(a[1] is not b[1] for a, b in zip(day.orders, day.orders[1:], strict=False))
    assert turns <= 4, day.orders  # out and in, twice: two tides
