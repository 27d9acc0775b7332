"""Pods as units, through the official client, against the fake API: orders, disasters, other hands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.config import incluster_config

from actuators.k8s import api
from actuators.k8s.actuator import KubernetesActuator
from actuators.k8s.api import connect, rights
from actuators.k8s.workload import Workload
from forecaster.domain.errors import (
    ActuatorError,
    ActuatorUnavailableError,
    CapacityDeniedError,
    FencedError,
)
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.units import Fleet
from forecaster.planning.leads import lead_times_s
from forecaster.planning.ledger import lives
from tests.fake_kube_api import COST, FakeCluster, kubeconfig, serving
from tests.local_server import self_signed, server_context

DRAINED_S = 10.0


class Rig:
    """A fake cluster and daemons beside it."""

    def __init__(self, cluster: FakeCluster, config: Path) -> None:
        self.cluster, self.config, self.orders = cluster, config, 0
        self.speed = 1.0

    def now_s(self) -> float:
        return self.cluster.now_s

    def actuator(self, workload: str = "Deployment/chat", **more: Any) -> KubernetesActuator:
        cluster = connect(self.config, "", "ml")
        places = {"chat": Workload.parse(workload)}
        return KubernetesActuator(
            cluster, self, places, pause=lambda _: self.cluster.settle(), **more
        )

    def prewarm(self, hands: KubernetesActuator, units: int, fence: int = 0) -> tuple[str, ...]:
        self.orders += 1
        return hands.prewarm("chat", units, reason="tide", order_key=f"{self.orders}", fence=fence)

    def drain(self, hands: KubernetesActuator, units: int) -> tuple[str, ...]:
        self.orders += 1
        return hands.drain("chat", units, reason="ebb", order_key=f"{self.orders}")

    def ready(self, workload: str, units: int) -> KubernetesActuator:
        """A workload with ready units, and the hands over it."""
        plural = f"{workload.partition('/')[0].lower()}s"
        self.cluster.workload(plural, "chat", units)
        self.cluster.advance(30)
        return self.actuator(workload)

    def wanted(self, plural: str = "deployments") -> int:
        return int(self.cluster.objects[plural, "chat"]["spec"]["replicas"])


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    cluster = FakeCluster()
    with serving(cluster) as url:
        yield Rig(cluster, kubeconfig(url, tmp_path))


def counts(fleet: Fleet) -> tuple[int, int, int]:
    return fleet.ready, fleet.warming, fleet.draining


def test_the_life_of_a_pod_is_the_life_of_a_unit(rig: Rig) -> None:
    hands = rig.ready("Deployment/chat", 0)
    (unit,) = rig.prewarm(hands, 1)
    states = []
    for _ in range(20):
        (view,) = hands.observe("chat").units
        states.append(view.state)
        rig.cluster.advance(1)
    assert list(dict.fromkeys(states)) == [UnitState.STARTING, UnitState.WARMING, UnitState.READY]
    rig.drain(hands, 1)
    assert counts(hands.observe("chat")) == (0, 0, 1)
    rig.cluster.advance(DRAINED_S)
    events = hands.events_after(0)
    assert lead_times_s(events) == [15.0]  # 5 s to run, 10 s to pass its probe
    (life,) = lives(events)
    assert (life.unit_id, life.ending) == (unit, "gone")
    assert [stay.reason for stay in life.stays if stay.state == "draining"] == ["ebb"]
    assert not hands.observe("chat").units


def test_the_emptiest_goes_first_and_then_the_youngest(rig: Rig) -> None:
    rig.ready("Deployment/chat", 2)
    rig.cluster.objects["deployments", "chat"]["spec"]["replicas"] = 3
    rig.cluster.advance(30)
    old, middle, young = [each["metadata"]["name"] for each in rig.cluster.pods()]
    asked = []

    def busy(service: str) -> dict[str, float]:
        asked.append(service)
        return {old: 4.0, middle: 0.0, young: 9.0}

    hands = rig.actuator(busy=busy)
    hands.observe("chat")
    assert not asked  # only where there is something to choose
    (gone,) = rig.drain(hands, 1)
    assert asked == ["chat"]
    assert gone.startswith(f"{middle}.")
    rig.cluster.advance(DRAINED_S)
    (gone,) = rig.drain(rig.actuator(), 1)
    assert gone.startswith(f"{young}.")
    rig.cluster.advance(DRAINED_S)
    (left,) = rig.cluster.pods()
    assert left["metadata"]["name"] == old
    assert COST not in left["metadata"].get("annotations", {})


@pytest.mark.parametrize("kind", ["StatefulSet", "LeaderWorkerSet"])
def test_ordinal_kinds_end_their_highest_ordinal(rig: Rig, kind: str) -> None:
    hands = rig.ready(f"{kind}/chat", 3)
    units = [unit.unit_id for unit in hands.observe("chat").units]
    with pytest.raises(ActuatorError, match="always ends its highest ordinal: chat-0"):
        hands.drain_unit(units[0], reason="by name")
    assert rig.drain(hands, 1) == (units[2],)
    hands.drain_unit(units[1], reason="it is the next anyway")
    rig.cluster.advance(DRAINED_S)
    assert [unit.unit_id for unit in hands.observe("chat").units] == [units[0]]
    (again,) = rig.prewarm(hands, 1)
    assert again.startswith("chat-1.")  # the name comes again, the unit does not
    assert again != units[1]
    assert ("patch", "pods/chat-2") not in rig.cluster.writes


@pytest.mark.parametrize(
    ("plural", "kind"),
    [("horizontalpodautoscalers", "HorizontalPodAutoscaler"), ("scaledobjects", "ScaledObject")],
)
def test_what_another_autoscaler_owns_is_left_alone(rig: Rig, plural: str, kind: str) -> None:
    hands = rig.ready("Deployment/chat", 2)
    target = {"kind": "Deployment", "name": "chat"}
    rig.cluster.add(plural, "theirs", {"spec": {"scaleTargetRef": target}})
    hands.events_after(0)
    rig.cluster.writes.clear()
    for order in (rig.prewarm, rig.drain):
        with pytest.raises(ActuatorError, match=f"{kind} 'theirs' scales Deployment/chat"):
            order(hands, 1)
    assert counts(hands.observe("chat")) == (2, 0, 0)
    assert not rig.cluster.writes
    del rig.cluster.objects[plural, "theirs"]
    rig.cluster.kinds.discard("scaledobjects")  # a cluster that has never heard of KEDA
    assert len(rig.prewarm(hands, 1)) == 1


def test_a_conflict_is_read_again_once(rig: Rig) -> None:
    hands = rig.ready("Deployment/chat", 2)
    hands.events_after(0)
    rig.cluster.conflicts = 1
    rig.prewarm(hands, 2)
    assert rig.wanted() == 4
    rig.cluster.conflicts = 2
    with pytest.raises(ActuatorUnavailableError, match="changed meanwhile"):
        rig.prewarm(hands, 2)
    assert rig.wanted() == 4


def test_a_missing_permission_is_named(rig: Rig) -> None:
    hands = rig.ready("Deployment/chat", 2)
    rig.cluster.forbidden = {("update", "deployments/scale"), ("patch", "pods")}
    with pytest.raises(
        ActuatorError, match=r"forbids `update deployments/scale\.apps`.*rbac\.yaml"
    ):
        rig.prewarm(hands, 1)
    with pytest.raises(ActuatorError, match="forbids `patch pods`"):
        rig.drain(hands, 1)
    assert rig.wanted() == 2
    found = connect(rig.config, "", "ml")
    missing = [
        str(each) for each in rights([Workload.parse("Deployment/chat")]) if not found.may(each)
    ]
    assert missing == ["update deployments/scale.apps", "patch pods"]


def test_ten_minutes_away_and_an_answer_from_the_past_change_nothing(rig: Rig) -> None:
    hands = rig.ready("Deployment/chat", 3)
    before = hands.events_after(0)
    rig.cluster.away = True
    for _ in range(10):
        rig.cluster.advance(60)
        with pytest.raises(ActuatorUnavailableError, match="answers 503"):
            hands.observe("chat")
    rig.cluster.away = False
    rig.cluster.stale = True
    with pytest.raises(ActuatorUnavailableError, match="answers with the past"):
        hands.observe("chat")
    rig.cluster.stale = False
    assert counts(hands.observe("chat")) == (3, 0, 0)
    assert hands.events_after(0) == before


def test_without_a_node_capacity_is_denied_unless_nodes_may_come(rig: Rig) -> None:
    rig.cluster.gpus = 2
    hands = rig.ready("Deployment/chat", 2)
    with pytest.raises(CapacityDeniedError, match=r"Insufficient nvidia.com/gpu.*node_wait_s"):
        rig.prewarm(hands, 2)
    assert rig.wanted() == 2
    patient = rig.actuator(node_wait_s=600)
    (waits,) = rig.prewarm(patient, 1)
    rig.cluster.advance(300)
    (view,) = [unit for unit in patient.observe("chat").units if unit.unit_id == waits]
    assert (view.state, "Insufficient" in view.reason) == (UnitState.COLD, True)
    rig.cluster.advance(400)
    with pytest.raises(CapacityDeniedError):
        rig.prewarm(patient, 1)
    rig.cluster.gpus = 3
    rig.cluster.advance(30)
    assert counts(patient.observe("chat")) == (3, 0, 0)


def test_replicas_that_get_no_pod_are_no_reason_to_order_more(rig: Rig) -> None:
    hands = rig.ready("Deployment/chat", 2)
    rig.cluster.quota = 2
    assert rig.prewarm(hands, 2) == ()
    assert counts(hands.observe("chat")) == (2, 2, 0)
    with pytest.raises(CapacityDeniedError, match="2 pods ordered before were not made yet"):
        rig.prewarm(hands, 1)
    since_s = {unit.ordered_s for unit in hands.observe("chat").units if unit.state == "cold"}
    rig.cluster.advance(60)
    late = {unit.ordered_s for unit in hands.observe("chat").units if unit.state == "cold"}
    assert late == since_s  # the planner sees how slow they are
    assert rig.drain(hands, 2) == ()
    assert counts(hands.observe("chat")) == (2, 0, 0)


def test_a_pod_that_is_not_ready_any_more_is_no_supply(rig: Rig) -> None:
    hands = rig.ready("Deployment/chat", 2)
    first, second = [each["metadata"]["name"] for each in rig.cluster.pods()]
    hands.events_after(0)
    rig.cluster.lose_readiness(first)
    fleet = hands.observe("chat")
    assert counts(fleet) == (1, 1, 0)
    assert [unit.reason for unit in fleet.units if unit.state == "warming"] == [
        "not ready any more"
    ]
    assert rig.drain(hands, 1)[0].startswith(f"{first}.")
    rig.cluster.fail(second, "Evicted")
    rig.cluster.advance(60)
    fleet = hands.observe("chat")
    failed = [unit for unit in fleet.units if unit.state is UnitState.FAILED]
    assert [unit.reason for unit in failed] == ["Evicted"]
    assert counts(fleet) == (1, 0, 0)  # Kubernetes replaced it
    assert [unit.reason for unit in fleet.units if unit.state == "ready"] == ["made by Kubernetes"]


def test_another_daemon_goes_on_with_the_same_numbers_and_the_late_one_is_refused(rig: Rig) -> None:
    first = rig.ready("Deployment/chat", 1)
    first.lead(1)
    rig.prewarm(first, 1, fence=1)
    rig.cluster.advance(30)
    seen = list(first.events_after(0))
    second = rig.actuator()
    second.lead(2)
    assert second.tier == first.tier
    assert list(second.events_after(0)) == seen
    with pytest.raises(FencedError, match="leader 1 is late: leader 2"):
        rig.prewarm(first, 1, fence=1)
    rig.drain(second, 1)
    later = second.events_after(seen[-1].seq)
    assert [each.seq for each in later] == [seen[-1].seq + 1]


def test_somebody_elses_scale_is_followed_and_units_on_their_way_out_are_no_supply(
    rig: Rig,
) -> None:
    hands = rig.ready("Deployment/chat", 4)
    rig.cluster.objects["deployments", "chat"]["spec"]["replicas"] = 2  # the controller is slow
    assert counts(hands.observe("chat")) == (2, 0, 2)
    rig.cluster.settle()
    rig.cluster.advance(DRAINED_S)
    assert counts(hands.observe("chat")) == (2, 0, 0)


def test_a_book_that_is_missing_or_torn_is_said_and_nothing_is_ordered(rig: Rig) -> None:
    hands = rig.ready("Deployment/chat", 1)
    rig.cluster.objects["configmaps", "tidegate-fleet"]["data"] = {"book": "{torn"}
    with pytest.raises(ActuatorError, match="book of units cannot be read"):
        rig.prewarm(hands, 1)
    del rig.cluster.objects["configmaps", "tidegate-fleet"]
    with pytest.raises(ActuatorError, match="kubectl create configmap tidegate-fleet -n ml"):
        rig.prewarm(hands, 1)
    assert rig.wanted() == 1


def test_in_the_cluster_the_service_account_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = self_signed(tmp_path)
    token = tmp_path / "token"
    token.write_text("first")
    cluster = FakeCluster()
    cluster.workload("deployments", "chat", 3)
    monkeypatch.setattr(api, "IN_CLUSTER", token)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(cert))
    with serving(cluster, server_context(cert, key)) as url:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", url.rpartition(":")[2])
        assert connect(None, "", "ml").scale(Workload.parse("Deployment/chat")).replicas == 3
    assert [each.lower() for each in cluster.tokens] == ["bearer first"]


def test_no_way_into_the_cluster_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(ActuatorError, match="no way into the cluster"):
        connect(tmp_path / "absent", "", "ml")
    config = kubeconfig("http://127.0.0.1:9", tmp_path)
    with pytest.raises(ActuatorUnavailableError, match="does not answer"):
        connect(config, "", "ml").scale(Workload.parse("Deployment/chat"))
