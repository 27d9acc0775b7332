"""One suite over every tier: what the `Actuator` port promises, on paper and on real units."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from actuators.dry_run import DryRunActuator
from actuators.dynamo.workers import WorkerFleet
from actuators.k8s.actuator import KubernetesActuator
from actuators.k8s.api import connect
from actuators.k8s.workload import Workload
from actuators.keda.pulled import PulledActuator
from actuators.open_inference.actuator import OpenInferenceActuator
from actuators.open_inference.watch import Model
from actuators.ray_serve.actuator import RayServeActuator
from actuators.ray_serve.api import RayServe, Target
from forecaster.domain.errors import (
    ActuatorError,
    ActuatorUnavailableError,
    CapacityDeniedError,
    UnitGoneError,
)
from forecaster.domain.lifecycle import TRANSITIONS, UnitState
from forecaster.domain.ports import Actuator
from forecaster.domain.units import RequestRecord
from tests.fake_kube_api import FakeCluster, kubeconfig, serving
from tests.fake_ray import FakeRay
from tests.fake_ray import serving as serving_ray
from tests.fake_repositories import FakeWorld
from tests.fake_repositories import serving as serving_repositories
from tests.integration.tier_helpers import CHAT, CLASSIFIER, running, services, until

ROOM = 4


class _Tier:
    """An actuator under test and how time, traffic and disaster reach it."""

    def __init__(
        self,
        actuator: Actuator,
        send_request: Callable[[], None],
        cut_off: Callable[[], None],
        pass_time: Callable[[], None],
        denied: str = f"of {ROOM} are taken; ",
        serves: bool = True,
        by_name: bool = True,
    ) -> None:
        self.denied, self.serves, self.by_name = denied, serves, by_name
        self.actuator = actuator
        self.send_request = send_request
        self.cut_off = cut_off
        self._pass_time = pass_time
        self._orders = 0

    def key(self) -> str:
        self._orders += 1
        return f"order-{id(self)}-{self._orders}"

    def prewarm(self, units: int, key: str | None = None) -> tuple[str, ...]:
        return self.actuator.prewarm(
            CLASSIFIER, units, reason="contract", order_key=key or self.key()
        )

    def drain(self, units: int, key: str | None = None) -> tuple[str, ...]:
        return self.actuator.drain(
            CLASSIFIER, units, reason="contract", order_key=key or self.key()
        )

    def settle(self, ready: int) -> None:
        def settled() -> bool:
            self._pass_time()
            fleet = self.actuator.observe(CLASSIFIER)
            return fleet.ready == ready and not fleet.warming and not fleet.draining

        until(settled, f"{ready} ready units")


class _SteppedClock:
    speed = 1.0

    def __init__(self) -> None:
        self.time_s = 1.7e9

    def now_s(self) -> float:
        return self.time_s


@pytest.fixture(scope="module")
def real_tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Tier]:
    served = services(tmp_path_factory.mktemp("models"))
    with running(tmp_path_factory.mktemp("home"), served, max_units_total=ROOM) as tier:
        tensor = {"name": "features", "datatype": "FP32", "shape": [1, 64], "data": [0.0] * 64}

        def send_request() -> None:
            path = f"{tier.url}/v2/models/{CLASSIFIER}/infer"
            assert httpx.post(path, json={"inputs": [tensor]}).status_code == 200

        yield _Tier(tier.actuator, send_request, lambda: _stop(tier), lambda: None)


def _stop(tier: Any) -> None:
    assert tier.handle.stop(0.1) == 0


def _dry_tier() -> _Tier:
    clock = _SteppedClock()
    actuator = DryRunActuator(
        clock, [CHAT, CLASSIFIER], lead_time_s=60, drain_time_s=10, max_units_total=ROOM
    )
    return _on_paper(actuator, clock)


def _on_paper(actuator: DryRunActuator, clock: _SteppedClock) -> _Tier:
    record = RequestRecord("", 0, CLASSIFIER, clock.now_s(), 0, 0, 0.1, 0.1, 0.1, "u", 200)

    def pass_time() -> None:
        clock.time_s += 20

    return _Tier(
        actuator,
        lambda: actuator.push_request(record),
        lambda: setattr(actuator, "unavailable", True),
        pass_time,
    )


@pytest.fixture(scope="module")
def dry_tier() -> _Tier:
    return _dry_tier()


@pytest.fixture(scope="module")
def keda_tier(tmp_path_factory: pytest.TempPathFactory) -> _Tier:
    clock = _SteppedClock()
    file = tmp_path_factory.mktemp("keda") / "keda.json"
    return _on_paper(PulledActuator(clock, {CHAT: 60.0, CLASSIFIER: 60.0}, file, ROOM), clock)


@pytest.fixture(scope="module")
def dynamo_tier(tmp_path_factory: pytest.TempPathFactory) -> _Tier:
    """Workers that come after 80 seconds, and are told of."""
    clock = _SteppedClock()
    file = tmp_path_factory.mktemp("dynamo") / "dynamo.json"
    fleet = WorkerFleet(clock, {CHAT: 60.0, CLASSIFIER: 60.0}, file, ROOM)
    tier = _on_paper(fleet, clock)

    def pass_time() -> None:
        clock.time_s += 20
        for service in (CHAT, CLASSIFIER):
            units = fleet.observe(service).units
            there = [each for each in units if clock.time_s - each.ordered_s >= 80]
            fleet.heard(service, len(there))

    tier._pass_time = pass_time
    return tier


class KubeClock:
    """The cluster's own."""

    speed = 1.0

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster

    def now_s(self) -> float:
        return self._cluster.now_s


def _kube_tier(folder: Path, url: str, cluster: FakeCluster) -> _Tier:
    workloads = {name: Workload("Deployment", name) for name in (CHAT, CLASSIFIER)}
    actuator = KubernetesActuator(
        connect(kubeconfig(url, folder), "", "ml"),
        KubeClock(cluster),
        workloads,
        pause=cluster.advance,
    )
    return _Tier(
        actuator,
        lambda: None,
        lambda: setattr(cluster, "away", True),
        lambda: cluster.advance(20),
        denied="Insufficient nvidia",
        serves=False,
    )


@pytest.fixture(scope="module")
def kube_tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Tier]:
    cluster = FakeCluster(gpus=ROOM)
    for name in (CHAT, CLASSIFIER):
        cluster.workload("deployments", name)
    with serving(cluster) as url:
        yield _kube_tier(tmp_path_factory.mktemp("kube"), url, cluster)


@pytest.fixture(scope="module")
def models_tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Tier]:
    """Models on servers with the repository extension."""
    world = FakeWorld(ROOM, (CHAT, CLASSIFIER), load_s=30.0, now_s=1.7e9)
    with _models_tier(tmp_path_factory.mktemp("models"), world) as tier:
        yield tier


@contextmanager
def _models_tier(folder: Path, world: FakeWorld) -> Iterator[_Tier]:
    models = {name: Model(name) for name in (CHAT, CLASSIFIER)}

    def cut_off() -> None:
        for server in world.servers:
            server.away = True

    with (
        serving_repositories(world),
        closing(OpenInferenceActuator(world.hosts, world, models, folder)) as actuator,
    ):
        yield _Tier(
            actuator, lambda: None, cut_off, lambda: world.advance(20, actuator), serves=False
        )


@pytest.fixture(scope="module")
def ray_tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Tier]:
    """Replicas of Ray Serve."""
    with _ray_tier(tmp_path_factory.mktemp("ray")) as tier:
        yield tier


@contextmanager
def _ray_tier(folder: Path) -> Iterator[_Tier]:
    ray = FakeRay((CHAT, CLASSIFIER), ROOM, load_s=30.0, stop_s=5.0, now_s=1.7e9)
    targets = {name: Target(name, name) for name in (CHAT, CLASSIFIER)}
    with (
        serving_ray(ray) as url,
        closing(
            RayServeActuator(RayServe(url), ray, targets, folder, pause=lambda _: ray.settle())
        ) as actuator,
    ):
        yield _Tier(
            actuator,
            lambda: None,
            lambda: setattr(ray, "away", True),
            lambda: ray.advance(20),
            denied="the nodes have room for",
            serves=False,
            by_name=False,
        )


@pytest.fixture(
    params=[
        "dry_tier",
        "keda_tier",
        "dynamo_tier",
        "kube_tier",
        "models_tier",
        "ray_tier",
        "real_tier",
    ]
)
def tier(request: pytest.FixtureRequest) -> _Tier:
    found: _Tier = request.getfixturevalue(request.param)
    present = len([u for u in found.actuator.observe(CLASSIFIER).units if u.state != "failed"])
    if present:
        found.drain(present)
    found.settle(0)
    return found


def test_units_become_ready_and_measure_their_lead_time(tier: _Tier) -> None:
    ids = tier.prewarm(2)
    assert len(set(ids)) == 2
    fleet = tier.actuator.observe(CLASSIFIER)
    assert {unit.unit_id for unit in fleet.units} >= set(ids)
    tier.settle(2)
    for unit in tier.actuator.observe(CLASSIFIER).units:
        if unit.unit_id in ids:
            assert unit.lead_time_s is not None
            assert unit.lead_time_s > 0
            assert unit.since_s == pytest.approx(unit.ordered_s + unit.lead_time_s)
            assert (unit.reason, bool(unit.provider)) == ("contract", True)


def test_an_order_is_carried_out_once_under_its_key(tier: _Tier) -> None:
    key = tier.key()
    ids = tier.prewarm(1, key)
    assert tier.prewarm(1, key) == ids
    tier.settle(1)
    assert tier.prewarm(1, key) == ids
    assert tier.actuator.observe(CLASSIFIER).ready == 1
    tier.prewarm(1)
    tier.settle(2)
    gone = tier.drain(1, key)
    assert tier.drain(1, key) == gone, "a drain's keys are its own"
    tier.settle(1)


def test_no_room_means_nothing_is_ordered(tier: _Tier) -> None:
    tier.prewarm(1)
    with pytest.raises(CapacityDeniedError, match=tier.denied):
        tier.prewarm(ROOM)
    tier.settle(1)
    tier.prewarm(ROOM - 1)
    tier.settle(ROOM)


def test_a_denied_order_may_be_repeated_under_its_key(tier: _Tier) -> None:
    tier.prewarm(ROOM)
    key = tier.key()
    with pytest.raises(CapacityDeniedError):
        tier.prewarm(1, key)
    tier.settle(ROOM)
    tier.drain(1)
    tier.settle(ROOM - 1)
    assert len(tier.prewarm(1, key)) == 1


def test_draining_more_than_there_is_drains_what_there_is(tier: _Tier) -> None:
    ids = tier.prewarm(2)
    tier.settle(2)
    assert set(tier.drain(9)) == set(ids)
    tier.settle(0)
    assert tier.drain(1) == ()


def test_warming_units_are_drained_before_ready_ones(tier: _Tier) -> None:
    tier.prewarm(1)
    tier.settle(1)
    late = tier.prewarm(1)
    assert tier.drain(1) == late
    tier.settle(1)


def test_a_unit_is_drained_by_name_and_then_gone(tier: _Tier) -> None:
    first, second = tier.prewarm(2)
    tier.settle(2)
    if not tier.by_name:
        with pytest.raises(ActuatorError, match="cannot be drained by name"):
            tier.actuator.drain_unit(first, reason="by name")
        with pytest.raises(UnitGoneError, match="unit 'nobody' is gone"):
            tier.actuator.drain_unit("nobody", reason="again")
        return
    tier.actuator.drain_unit(first, reason="by name")
    tier.settle(1)
    ready = [u.unit_id for u in tier.actuator.observe(CLASSIFIER).units if u.state == "ready"]
    assert ready == [second]
    for unit_id in (first, "nobody"):
        with pytest.raises(UnitGoneError, match=f"unit '{unit_id}' is gone"):
            tier.actuator.drain_unit(unit_id, reason="again")


def test_events_are_numbered_without_gaps_and_follow_the_table(tier: _Tier) -> None:
    tier.prewarm(2)
    tier.settle(2)
    tier.drain(1)
    tier.settle(1)
    events = list(tier.actuator.events_after(0, 10_000))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert {event.tier for event in events} == {tier.actuator.tier}
    states: dict[str, UnitState] = {}
    times: dict[str, float] = {}
    for event in events:
        assert event.after in TRANSITIONS[event.before]
        assert states.get(event.unit_id, UnitState.COLD) is event.before
        if event.unit_id in times:
            assert event.seconds == pytest.approx(event.at_s - times[event.unit_id], abs=1e-6)
        states[event.unit_id], times[event.unit_id] = event.after, event.at_s
    assert list(tier.actuator.events_after(len(events))) == []
    assert list(tier.actuator.events_after(2, 3)) == events[2:5]


def test_requests_are_numbered_without_gaps(tier: _Tier) -> None:
    if not tier.serves:
        assert not tier.actuator.requests_after(0)
        pytest.skip("its requests come from the log")
    tier.prewarm(1)
    tier.settle(1)
    before = len(tier.actuator.requests_after(0))
    for _ in range(3):
        tier.send_request()
    records = tier.actuator.requests_after(before)
    assert [record.seq for record in records] == [before + 1, before + 2, before + 3]
    assert {record.service for record in records} == {CLASSIFIER}
    assert {record.tier for record in records} == {tier.actuator.tier}
    assert [r.seq for r in tier.actuator.requests_after(before, 2)] == [before + 1, before + 2]


def test_unknown_services_and_empty_orders_are_refused(tier: _Tier) -> None:
    with pytest.raises(ActuatorError, match="'nobody' is not served here"):
        tier.actuator.observe("nobody")
    with pytest.raises(ActuatorError, match="'nobody' is not served here"):
        tier.actuator.prewarm("nobody", 1, reason="x", order_key="x")
    with pytest.raises(ActuatorError, match="must be 1 or more"):
        tier.prewarm(0)


def test_services_do_not_see_each_others_units(tier: _Tier) -> None:
    tier.prewarm(1)
    tier.settle(1)
    assert tier.actuator.observe(CHAT).ready == 0


@pytest.mark.parametrize("kind", ["dry_tier", "kube_tier", "models_tier", "ray_tier", "real_tier"])
def test_a_tier_out_of_reach_says_so_on_every_verb(kind: str, tmp_path: Path) -> None:
    if kind == "dry_tier":
        _cut_off_everywhere(_dry_tier())
        return
    if kind == "ray_tier":
        with _ray_tier(tmp_path) as ray_tier:
            _cut_off_everywhere(ray_tier)
        return
    if kind == "models_tier":
        world = FakeWorld(2, (CHAT, CLASSIFIER), load_s=30.0, now_s=1.7e9)
        with _models_tier(tmp_path, world) as models_tier:
            _cut_off_everywhere(models_tier)
        return
    if kind == "kube_tier":
        cluster = FakeCluster()
        with serving(cluster) as url:
            _cut_off_everywhere(_kube_tier(tmp_path, url, cluster))
        return
    with running(tmp_path / "home", services(tmp_path / "models")) as tier:
        _cut_off_everywhere(_Tier(tier.actuator, lambda: None, lambda: _stop(tier), lambda: None))


def _cut_off_everywhere(tier: _Tier) -> None:
    actuator = tier.actuator
    tier.cut_off()
    verbs: list[Callable[[], object]] = [
        lambda: actuator.observe(CLASSIFIER),
        lambda: tier.prewarm(1),
        lambda: tier.drain(1),
        lambda: actuator.drain_unit("u", reason="x"),
        lambda: actuator.events_after(0),
        lambda: actuator.requests_after(0),
        lambda: actuator.tier,
    ]
    for verb in verbs:
        with pytest.raises(ActuatorUnavailableError):
            verb()


def test_the_dry_run_injects_faults() -> None:
    tier = _dry_tier()
    dry = tier.actuator
    assert isinstance(dry, DryRunActuator)
    dry.deny = True
    with pytest.raises(CapacityDeniedError):
        tier.prewarm(1)
    dry.deny = False
    dry.fail_next = "no such device"
    tier.prewarm(2)
    tier.settle(1)
    failed = [u for u in dry.observe(CLASSIFIER).units if u.state is UnitState.FAILED]
    assert [u.reason for u in failed] == ["no such device"]
    ready = [u for u in dry.observe(CLASSIFIER).units if u.state is UnitState.READY]
    dry.fail_unit(ready[0].unit_id, "crashed")
    assert dry.observe(CLASSIFIER).ready == 0
