"""Units that are pods: settings become workloads, and permissions become checks."""

from __future__ import annotations

from collections.abc import Iterator

from actuators.k8s.actuator import Busy, KubernetesActuator
from actuators.k8s.api import KubeApi, connect, rights
from actuators.k8s.workload import Workload
from forecaster.config import Settings
from forecaster.domain.ports import Clock
from forecaster.wiring.checks import Check, Health
from forecaster.wiring.lanes import lanes, written


def workloads(settings: Settings) -> dict[str, Workload]:
    """What each service scales."""
    return {
        name: Workload.parse(place.workload or f"Deployment/{written(name)}")
        for name, place in lanes(settings).items()
    }


def api_of(settings: Settings) -> KubeApi:
    """The cluster's API.

    Raises
    ------
    ActuatorError
        Without the client library or a way into the cluster.
    """
    kube = settings.kubernetes
    return connect(kube.kubeconfig, kube.context, kube.namespace)


def pod_fleet(
    settings: Settings, clock: Clock, busy: Busy = lambda service: {}
) -> KubernetesActuator:
    """The pods of every service; `busy` says which are empty, where somebody knows."""
    wait_s = settings.kubernetes.node_wait_s
    return KubernetesActuator(
        api_of(settings), clock, workloads(settings), node_wait_s=wait_s, busy=busy
    )


def examine_cluster(settings: Settings) -> Iterator[Check]:
    """Permissions, workloads and rivals, for `tidegate doctor`.

    Raises
    ------
    ActuatorError
        When the cluster cannot be reached at all.
    """
    if not settings.kubernetes.namespace:
        return
    api, scaled = api_of(settings), workloads(settings)
    needed = rights(list(scaled.values()))
    missing = [right for right in needed if not api.may(right)]
    for right in missing:
        yield Check(
            "kubernetes", Health.FAIL,
            f"the service account may not {right} in namespace {api.namespace}",
            "bind the Role in deploy/kubernetes/rbac.yaml",
        )  # fmt: skip
    if missing:
        return
    yield Check("kubernetes", Health.OK, f"all {len(needed)} permissions in {api.namespace}")
    api.read_book()
    for service, workload in scaled.items():
        rival = api.rival(workload)
        if rival:
            yield Check(
                "kubernetes", Health.FAIL, f"{service}: {rival} scales {workload} as well",
                "delete it, or let KEDA ask Tidegate (docs/keda.md)",
            )  # fmt: skip
            continue
        scale = api.scale(workload)
        ready = sum(pod.ready_s is not None for pod in api.pods(scale.selector) if pod.live)
        says = f"{service}: {workload} wants {scale.replicas} pods, {ready} are ready"
        yield Check("kubernetes", Health.OK, says)
