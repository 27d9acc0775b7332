"""What pods did since they were last looked at, written down as the edges of their units' lives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actuators.book import FAILED_SHOWN_S, Book, Entry, Writer, watched
from actuators.k8s.pods import Pod
from forecaster.domain.lifecycle import UnitState

PROVIDER = "kubernetes"
BY_ITSELF = "made by Kubernetes"
"""Reason of a pod that no order of ours brought: a replacement, or somebody else's."""
_ENDED = (UnitState.DRAINING, UnitState.FAILED)


def followed(
    book: Book,
    service: str,
    pods: Sequence[Pod],
    now_s: float,
    looked_s: float = 0.0,
    reasons: Mapping[str, str] | None = None,
) -> Book:
    """Write down what became of the service's units.

    Parameters
    ----------
    pods : sequence of Pod
        All that there are.
    now_s : float
        The end of what is not seen to end, epoch seconds.
    looked_s : float
        The look before; 0 where there was none. What became ready long before this one may have done so
        again: its API tells of the last time only.
    reasons : mapping of str to str, optional
        Why, by pod uid, where an order of ours is the cause.
    """
    said = reasons or {}
    writer = Writer(book, PROVIDER)
    for pod in pods:
        why = said.get(pod.uid, "")
        if pod.uid not in writer.units:
            if pod.state is UnitState.FAILED and pod.scheduled_s is None:
                continue  # over before anybody saw it
            writer.units[pod.uid] = Entry(
                pod.unit_id,
                service,
                UnitState.COLD,
                pod.made_s,
                pod.made_s,
                reason=why or BY_ITSELF,
            )
        watches = watched(writer.units[pod.uid].since_s, looked_s, now_s)
        _follow(writer, pod, now_s, why, watches)
    seen = {pod.uid for pod in pods}
    for uid, entry in list(writer.units.items()):
        if entry.service == service and uid not in seen:
            _bury(writer, uid, entry, now_s, said.get(uid, ""))
    return writer.book


def _follow(writer: Writer, pod: Pod, now_s: float, why: str, watches: bool) -> None:
    """Bring one unit to where its pod is; a ready one that is not ready for a while stays ready here."""
    if writer.units[pod.uid].state in _ENDED:
        if pod.state is UnitState.FAILED and writer.units[pod.uid].state is UnitState.DRAINING:
            writer.move(pod.uid, UnitState.FAILED, now_s, pod.reason)
        return
    order = list(UnitState)
    for state, at_s in pod.moments():
        if order.index(state) > order.index(writer.units[pod.uid].state):
            writer.move(pod.uid, state, at_s, seen=watches or state is not UnitState.READY)
    if pod.state is UnitState.FAILED:
        writer.move(pod.uid, UnitState.FAILED, now_s, pod.reason)
    elif pod.drain_s is not None and writer.units[pod.uid].state is not UnitState.COLD:
        writer.move(pod.uid, UnitState.DRAINING, pod.drain_s, why)


def _bury(writer: Writer, uid: str, entry: Entry, now_s: float, why: str) -> None:
    """A pod that is not there any more: gone, by the way of its life."""
    if entry.state is UnitState.FAILED:
        if entry.since_s < now_s - FAILED_SHOWN_S:
            del writer.units[uid]
        return
    if entry.state not in (UnitState.DRAINING, UnitState.COLD):
        writer.move(uid, UnitState.DRAINING, now_s, why)
    writer.move(uid, UnitState.GONE, now_s)
