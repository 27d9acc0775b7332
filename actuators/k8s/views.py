"""The fleet as the planner sees it: supply is what is ready and will stay."""

from __future__ import annotations

from collections.abc import Sequence, Set

from actuators.book import FAILED_SHOWN_S, Book
from actuators.k8s.pods import Pod
from forecaster.domain.lifecycle import WARMING_STATES, UnitState
from forecaster.domain.units import Fleet, UnitView

LOST = "not ready any more"


def fleet_of(
    book: Book,
    service: str,
    pods: Sequence[Pod],
    surplus: Set[str],
    unmade: tuple[int, float],
    now_s: float,
) -> Fleet:
    """What stands of a service.

    Parameters
    ----------
    book : Book
        With everything written down that the pods say.
    surplus : set of str
        Uids of pods that will be ended: fewer replicas are wanted than there are. They drain.
    unmade : tuple of int and float
        Replicas without a pod, and since when, epoch seconds. They are cold.
    """
    by_uid = {pod.uid: pod for pod in pods}
    units = [
        _view(book, uid, by_uid.get(uid), uid in surplus)
        for uid, entry in book.units.items()
        if entry.service == service
        and (entry.state is not UnitState.FAILED or entry.since_s >= now_s - FAILED_SHOWN_S)
    ]
    count, since_s = unmade
    units += [
        UnitView(
            f"{service}.unmade-{number}", service, UnitState.COLD, since_s, since_s,
            reason="no pod was made for it yet",
        )
        for number in range(1, count + 1)
    ]  # fmt: skip
    return Fleet(service, now_s, tuple(units))


def _view(book: Book, uid: str, pod: Pod | None, leaves: bool) -> UnitView:
    entry = book.units[uid]
    state, since_s, reason = entry.state, entry.since_s, entry.reason
    if pod is not None and state is UnitState.READY and pod.state in WARMING_STATES:
        # The bill goes on as for a ready unit; nobody is routed to it, so it is no supply.
        state, reason = UnitState.WARMING, "; ".join(filter(None, (LOST, pod.reason)))
    elif pod is not None and state in WARMING_STATES:
        reason = pod.unschedulable or pod.reason or reason
    if leaves and state not in (UnitState.DRAINING, UnitState.FAILED):
        state = UnitState.DRAINING
    return UnitView(
        entry.unit_id, entry.service, state, entry.ordered_s, since_s, entry.lead_time_s,
        provider="" if pod is None or pod.started_s is None else "kubernetes", reason=reason,
    )  # fmt: skip
