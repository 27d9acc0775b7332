"""A tier whose units are pods: orders change a scale, Kubernetes carries them out.

Readiness is supply. What Kubernetes has not made, placed or made ready yet is warming; what it ends
is draining, and so is what it will end because fewer replicas are wanted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from actuators.book import Book
from actuators.k8s.api import KubeApi
from actuators.k8s.following import followed
from actuators.k8s.keeper import BookKeeper
from actuators.k8s.pods import Pod
from actuators.k8s.replicas import Replicas, Seen
from actuators.k8s.views import fleet_of
from actuators.k8s.workload import Workload
from actuators.order_book import OrderBook, check_units, of_service
from forecaster.domain.errors import ActuatorError, CapacityDeniedError, UnitGoneError
from forecaster.domain.ports import Clock
from forecaster.domain.units import Fleet, RequestRecord, UnitEvent

Busy = Callable[[str], Mapping[str, float]]
"""Requests in flight of a service by pod name; empty where nobody knows."""


class KubernetesActuator:
    """An `Actuator` over the scale subresource.

    Parameters
    ----------
    api : KubeApi
        The cluster.
    clock : Clock
        The installation's clock.
    workloads : mapping of str to Workload
        By service.
    node_wait_s : float
        So long a pod without a node may wait for one (a cluster autoscaler brings it); 0: it is
        denied capacity at once.
    busy : callable, optional
        See `Busy`.
    pause : callable
        Waits real seconds between two looks at what an order brings about.
    """

    def __init__(
        self,
        api: KubeApi,
        clock: Clock,
        workloads: Mapping[str, Workload],
        *,
        node_wait_s: float = 0.0,
        busy: Busy = lambda service: {},
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock, self._node_wait_s = clock, node_wait_s
        self._keeper = BookKeeper(api)
        self._replicas = {
            service: Replicas(api, workload, partial(busy, service), pause)
            for service, workload in workloads.items()
        }
        self._orders = OrderBook()
        self._unmade_since: dict[str, float] = {}
        self._written_s: dict[str, float] = {}
        self._turn = threading.RLock()  # the threads of our API ask as well

    @property
    def tier(self) -> str:
        """Identity of the numbering in the cluster's book."""
        with self._turn:
            return self._keeper.change(lambda book: book).tier

    def observe(self, service: str) -> Fleet:
        """Every unit of `service`; reads only, so that those who stand by may look as well."""
        with self._turn:
            seen = of_service(self._replicas, service).look()
            now_s = self._clock.now_s()
            since_s = now_s
            if seen.unmade:
                since_s = self._unmade_since.setdefault(service, now_s)
            else:
                self._unmade_since.pop(service, None)
            looked_s = self._looked_s(service)
            book = followed(self._keeper.read(), service, seen.pods, now_s, looked_s)
            leaving = {pod.uid for pod in seen.surplus}
            return fleet_of(book, service, seen.pods, leaving, (seen.unmade, since_s), now_s)

    def lead(self, fence: int) -> None:
        """Refuse the orders of earlier leaders from now on, in the whole cluster."""
        with self._turn:
            self._keeper.pass_leader(fence)

    def prewarm(
        self, service: str, units: int, *, reason: str, order_key: str, fence: int = 0
    ) -> tuple[str, ...]:
        """Want `units` more replicas; return the units that Kubernetes made of them.

        Raises
        ------
        CapacityDeniedError
            When a pod finds no node, or pods ordered before were never made.
        ActuatorError
            When an autoscaler owns the workload, or a permission is missing.
        """
        with self._turn:
            replicas = self._begin(service, units, fence)
            key = ("prewarm", service, order_key)
            return self._orders.once(key, lambda: self._more(service, units, replicas, reason))

    def drain(
        self, service: str, units: int, *, reason: str, order_key: str, fence: int = 0
    ) -> tuple[str, ...]:
        """Want `units` fewer replicas, and say which pods should go."""
        with self._turn:
            replicas = self._begin(service, units, fence)
            key = ("drain", service, order_key)
            return self._orders.once(key, lambda: self._fewer(service, units, replicas, reason))

    def drain_unit(self, unit_id: str, *, reason: str) -> None:
        """Drain one unit by name.

        Raises
        ------
        UnitGoneError
            When it is not there any more.
        ActuatorError
            For a StatefulSet or LeaderWorkerSet, unless it is the one that goes next anyway.
        """
        with self._turn:
            self._keeper.read()
            for service, replicas in self._replicas.items():
                seen = replicas.look()
                found = [pod for pod in seen.pods if pod.unit_id == unit_id]
                if found and found[0].live:
                    replicas.refuse_rival()
                    _refuse_other(replicas.workload, found[0], seen)
                    replicas.fewer(1, found)
                    self._note(service, {found[0].uid: reason})
                    return
                if found and found[0].drain_s is not None:
                    return
            raise UnitGoneError(f"unit {unit_id!r} is gone")

    def events_after(self, seq: int, limit: int = 1000) -> Sequence[UnitEvent]:
        """What became of the pods, numbered above `seq`; looks at all of them and writes it down."""
        with self._turn:
            pods = {service: each.look().pods for service, each in self._replicas.items()}
            now_s = self._clock.now_s()

            def follow(book: Book) -> Book:
                for service, own in pods.items():
                    book = followed(book, service, own, now_s, self._looked_s(service))
                return book.read_up_to(seq)

            found = self._keeper.change(follow).after(seq, limit)
            self._written_s |= dict.fromkeys(pods, now_s)
            return found

    def requests_after(self, seq: int, limit: int = 10000) -> Sequence[RequestRecord]:
        """Nothing: requests come from the log, or from Prometheus."""
        del seq, limit
        with self._turn:
            self._keeper.read()  # the cluster is there
        return ()

    def _begin(self, service: str, units: int, fence: int) -> Replicas:
        check_units(units)
        replicas = of_service(self._replicas, service)
        self._keeper.pass_leader(fence)
        return replicas

    def _more(self, service: str, units: int, replicas: Replicas, reason: str) -> tuple[str, ...]:
        """Want more; take it back where a pod finds no node."""
        replicas.refuse_rival()
        before = replicas.look()
        self._refuse_full(service, units, before)
        made = replicas.more(units, before)
        homeless = [pod.unschedulable for pod in made if pod.unschedulable]
        if homeless and not self._node_wait_s:
            replicas.fewer(units, made)
            self._note(service, dict.fromkeys((pod.uid for pod in made), "denied"))
            raise _denied(service, units, before.live, homeless[0])
        self._note(service, dict.fromkeys((pod.uid for pod in made), reason))
        return tuple(pod.unit_id for pod in made)

    def _fewer(self, service: str, units: int, replicas: Replicas, reason: str) -> tuple[str, ...]:
        """Want fewer, and mark who goes."""
        replicas.refuse_rival()
        seen = replicas.look(choose=True)
        going = len(seen.surplus)  # ordered to go already
        fewer = min(units, seen.scale.replicas)
        leaving = seen.leaving[: going + max(fewer - seen.unmade, 0)]
        if fewer:
            replicas.fewer(fewer, leaving)
            self._note(service, dict.fromkeys((pod.uid for pod in leaving), reason))
        return tuple(pod.unit_id for pod in leaving[going:])

    def _refuse_full(self, service: str, units: int, seen: Seen) -> None:
        """Order nothing while what was ordered before finds no place."""
        since_s = self._clock.now_s() - self._node_wait_s
        waiting = [
            pod.unschedulable
            for pod in seen.leaving
            if pod.unschedulable and (not self._node_wait_s or pod.made_s < since_s)
        ]
        if waiting:
            raise _denied(service, units, seen.live, waiting[0])
        if seen.unmade:
            said = f"{seen.unmade} pods ordered before were not made yet"
            raise _denied(service, units, seen.live, said)

    def _note(self, service: str, reasons: Mapping[str, str]) -> None:
        """Write down what an order brought about, and why."""
        pods, now_s = self._replicas[service].look().pods, self._clock.now_s()
        looked_s = self._looked_s(service)
        self._keeper.change(lambda book: followed(book, service, pods, now_s, looked_s, reasons))
        self._written_s[service] = now_s

    def _looked_s(self, service: str) -> float:
        """When what a look showed was written down last, epoch seconds; 0: not since we were started."""
        return self._written_s.get(service, 0.0)


def _denied(service: str, units: int, live: int, said: str) -> CapacityDeniedError:
    return CapacityDeniedError(
        f"{units} more units of {service!r} are denied beside {live}: {said}",
        "free or add nodes; with a cluster autoscaler set kubernetes.node_wait_s; see ResourceQuota",
    )


def _refuse_other(workload: Workload, pod: Pod, seen: Seen) -> None:
    """An ordinal kind gives up its highest ordinal and no other."""
    if workload.resource.by_ordinal and seen.leaving[0].uid != pod.uid:
        raise ActuatorError(
            f"{workload} always ends its highest ordinal: {pod.name} cannot be drained by name",
            "drain by number, or use a Deployment",
        )
