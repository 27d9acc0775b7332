"""A pod as a unit: where it is in its life, by what the API says of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from forecaster.domain.lifecycle import UnitState

COST = "controller.kubernetes.io/pod-deletion-cost"
"""Annotation by which a ReplicaSet chooses between ready pods: the lowest goes first."""
OUR_COST = "-1000"


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod, with the moments of its life on the cluster's clock, epoch seconds.

    Attributes
    ----------
    state : UnitState
        COLD without a node, STARTING without a running container, WARMING until its readiness
        probe passes, READY, DRAINING while it terminates, FAILED.
    made_s : float
        When it was made.
    scheduled_s, started_s, ready_s, drain_s : float or None
        When it got a node, ran its containers, was ready, was told to end.
    unschedulable : str
        What the scheduler said where it found no node; empty otherwise.
    marked : bool
        Whether it has our deletion cost.
    """

    uid: str
    name: str
    state: UnitState
    made_s: float
    scheduled_s: float | None = None
    started_s: float | None = None
    ready_s: float | None = None
    drain_s: float | None = None
    node: str = ""
    reason: str = ""
    unschedulable: str = ""
    marked: bool = False

    @property
    def unit_id(self) -> str:
        """Its name for people, and enough of its uid: a StatefulSet uses names again."""
        return f"{self.name}.{self.uid[:8]}"

    @property
    def live(self) -> bool:
        """Whether it counts as a replica."""
        return self.state not in (UnitState.DRAINING, UnitState.FAILED)

    def moments(self) -> Iterator[tuple[UnitState, float]]:
        """The states that it came through and when, in order; DRAINING and FAILED are not among them."""
        if self.scheduled_s is not None:
            yield UnitState.STARTING, self.scheduled_s
        if self.started_s is not None:
            yield UnitState.LOADING, self.started_s
            yield UnitState.WARMING, self.started_s
        if self.ready_s is not None:
            yield UnitState.READY, self.ready_s


def pod_of(item: dict[str, Any]) -> Pod:
    """Read a pod as the API answers it."""
    meta, status = item["metadata"], item.get("status", {})
    conditions = {each["type"]: each for each in status.get("conditions", ())}
    made_s = _epoch_s(meta["creationTimestamp"])
    scheduled, ready = conditions.get("PodScheduled", {}), conditions.get("Ready", {})
    scheduled_s = _since(scheduled, made_s)
    ready_s = _since(ready, made_s)
    containers = status.get("containerStatuses", ())
    started_s = _started_s(containers)
    if ready_s is not None:  # a ready pod runs, and one that runs has a node, whatever else is said
        started_s = ready_s if started_s is None else min(started_s, ready_s)
    if started_s is not None and scheduled_s is None:
        scheduled_s = made_s
    lost = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    drain_s = None
    if "deletionTimestamp" in meta:  # the deadline: the grace period lies before it
        drain_s = _epoch_s(meta["deletionTimestamp"]) - meta.get("deletionGracePeriodSeconds", 0)
    return Pod(
        uid=meta["uid"],
        name=meta["name"],
        state=_state(status.get("phase", ""), drain_s, scheduled_s, started_s, ready_s),
        made_s=made_s,
        scheduled_s=scheduled_s,
        started_s=started_s,
        ready_s=ready_s,
        drain_s=drain_s,
        node=item.get("spec", {}).get("nodeName", ""),
        reason=status.get("reason", "") or _waits_for(containers),
        unschedulable=scheduled.get("message", "no node fits") if lost else "",
        marked=meta.get("annotations", {}).get(COST) == OUR_COST,
    )


def _state(
    phase: str,
    drain_s: float | None,
    scheduled_s: float | None,
    started_s: float | None,
    ready_s: float | None,
) -> UnitState:
    if phase in ("Failed", "Succeeded"):
        return UnitState.FAILED  # a server that came to its end serves nobody
    if drain_s is not None:
        return UnitState.DRAINING
    if ready_s is not None:
        return UnitState.READY
    if scheduled_s is None:
        return UnitState.COLD
    return UnitState.STARTING if started_s is None else UnitState.WARMING


def _since(condition: dict[str, Any], made_s: float) -> float | None:
    """When a condition became true; None while it is not."""
    if condition.get("status") != "True":
        return None
    said = condition.get("lastTransitionTime")
    return max(_epoch_s(said), made_s) if said else made_s


def _started_s(containers: Any) -> float | None:
    """When the last container began to run; None while one does not."""
    running = [each.get("state", {}).get("running") for each in containers]
    if not running or not all(running):
        return None
    return max(_epoch_s(each["startedAt"]) for each in running)


def _waits_for(containers: Any) -> str:
    """Why a container does not run, as in ImagePullBackOff or CrashLoopBackOff."""
    waiting = (each.get("state", {}).get("waiting", {}) for each in containers)
    return next((each["reason"] for each in waiting if each.get("reason")), "")


def _epoch_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
