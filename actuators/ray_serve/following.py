"""What replicas did since the last look, as edges of their units' lives, and the fleet that they make."""

from __future__ import annotations

from actuators.book import FAILED_SHOWN_S, Book, Entry, Writer, watched
from actuators.ray_serve.api import Replica, Seen
from forecaster.domain.lifecycle import WARMING_STATES, UnitState
from forecaster.domain.units import Fleet, UnitView

PROVIDER = "ray-serve"
BY_ITSELF = "made by Ray Serve"
"""Reason of a replica that no order of ours brought: it replaces one that died, or somebody scaled."""
_WAY = (UnitState.STARTING, UnitState.LOADING, UnitState.WARMING, UnitState.READY)


def unit_id_of(service: str, replica: Replica) -> str:
    """Ray's names of replicas are random and never used again."""
    return f"{service}.{replica.replica_id}"


def followed(
    book: Book,
    service: str,
    seen: Seen,
    now_s: float,
    looked_s: float,
    reason: str = "",
    ending: bool = False,
) -> Book:
    """Write down what became of the service's replicas.

    Parameters
    ----------
    now_s : float
        When a change was seen, epoch seconds: Ray says only when a replica was begun.
    looked_s : float
        The look before; 0 where there was none.
    reason : str
        The order that brings or ends what is new; empty: none of ours.
    ending : bool
        That order wants fewer: who is not there any more was ended by it. Ray Serve may be done with a replica
        before anybody has seen it stop.
    """
    writer = Writer(book, PROVIDER)
    for each in sorted(seen.replicas, key=lambda each: each.started_s):
        unit_id = unit_id_of(service, each)
        if unit_id not in writer.units:
            begun_s = min(each.started_s, now_s)
            writer.units[unit_id] = Entry(
                unit_id, service, UnitState.COLD, begun_s, begun_s, reason=reason or BY_ITSELF
            )
        watches = watched(writer.units[unit_id].since_s, looked_s, now_s)
        _follow(writer, unit_id, each, now_s, reason, watches)
    present = {unit_id_of(service, each) for each in seen.replicas}
    for unit_id, entry in list(writer.units.items()):
        if entry.service == service and unit_id not in present:
            _bury(writer, unit_id, entry, now_s, reason if ending else "")
    return writer.book


def fleet_of(book: Book, service: str, seen: Seen, now_s: float, unmade_since_s: float) -> Fleet:
    """What stands of a service; replicas that are wanted and not begun are cold."""
    units = [
        UnitView(
            each.unit_id, service, each.state, each.ordered_s, each.since_s, each.lead_time_s,
            provider=PROVIDER if each.lead_time_s is not None else "",
            reason=(seen.message if each.state in WARMING_STATES else "") or each.reason,
        )
        for each in book.units.values()
        if each.service == service
    ]  # fmt: skip
    units += [
        UnitView(
            f"{service}.unmade-{number}", service, UnitState.COLD, unmade_since_s, unmade_since_s,
            reason=seen.message or "no replica was begun for it yet",
        )
        for number in range(1, seen.unmade + 1)
    ]  # fmt: skip
    return Fleet(service, now_s, tuple(units))


def _follow(
    writer: Writer, unit_id: str, replica: Replica, now_s: float, reason: str, watches: bool
) -> None:
    entry = writer.units[unit_id]
    if entry.state in (UnitState.DRAINING, UnitState.FAILED):
        return
    reached = _WAY.index(entry.state) if entry.state in _WAY else -1
    goal = replica.state if replica.state in _WAY else UnitState.STARTING
    for state in _WAY[reached + 1 : _WAY.index(goal) + 1]:
        at_s = now_s if state in (UnitState.WARMING, UnitState.READY) else entry.ordered_s
        writer.move(unit_id, state, at_s, seen=watches or state is not UnitState.READY)
    if replica.state is UnitState.DRAINING:
        writer.move(unit_id, UnitState.DRAINING, now_s, reason)


def _bury(writer: Writer, unit_id: str, entry: Entry, now_s: float, order: str) -> None:
    """A replica that is not there any more: ended, by this order or an earlier one; or died."""
    if entry.state is UnitState.FAILED:
        if entry.since_s < now_s - FAILED_SHOWN_S:
            del writer.units[unit_id]
        return
    if order and entry.state is not UnitState.DRAINING:
        writer.move(unit_id, UnitState.DRAINING, now_s, order)
        entry = writer.units[unit_id]
    over = UnitState.GONE if entry.state is UnitState.DRAINING else UnitState.FAILED
    writer.move(unit_id, over, now_s, "" if over is UnitState.GONE else "the replica died")
