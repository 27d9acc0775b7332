"""The book of a cluster's units: pods come and go, what they did is numbered and written down.

It lives in the cluster (a ConfigMap), so that a daemon on another node goes on with the same numbers,
and so that the orders of a leader that was paused are refused wherever they come from.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import orjson

from actuators.k8s.pods import Pod
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.units import UnitEvent

KEPT = 200
"""Events that stay to be read again, as in a tier's ring."""
FAILED_SHOWN_S = 3600.0
BY_ITSELF = "made by Kubernetes"
"""Reason of a pod that no order of ours brought: a replacement, or somebody else's."""
_ENDED = (UnitState.DRAINING, UnitState.FAILED)


@dataclass(frozen=True, slots=True)
class Entry:
    """A unit as it stands in the book, by the last event that it had."""

    unit_id: str
    service: str
    state: UnitState
    ordered_s: float
    since_s: float
    lead_time_s: float | None = None
    reason: str = BY_ITSELF


@dataclass(frozen=True, slots=True)
class Book:
    """Units by pod uid, and the events that nobody has read yet.

    Attributes
    ----------
    tier : str
        Identity of the numbering.
    fence : int
        Number of the latest leader.
    dropped : int
        Events numbered up to this are not kept any more.
    """

    tier: str = ""
    fence: int = 0
    dropped: int = 0
    units: Mapping[str, Entry] = field(default_factory=dict)
    events: tuple[UnitEvent, ...] = ()

    def read_up_to(self, seq: int) -> Book:
        """Forget events that were read long ago."""
        had = min(max(seq - KEPT - self.dropped, 0), len(self.events))
        return replace(self, dropped=self.dropped + had, events=self.events[had:])

    def after(self, seq: int, limit: int) -> tuple[UnitEvent, ...]:
        """Events numbered above `seq`, in order."""
        begin = max(seq - self.dropped, 0)
        return self.events[begin : begin + limit]


def new_book() -> Book:
    """An empty book with numbers of its own."""
    return Book(tier=uuid.uuid4().hex)


def followed(
    book: Book,
    service: str,
    pods: Sequence[Pod],
    now_s: float,
    reasons: Mapping[str, str] | None = None,
) -> Book:
    """Write down what became of the service's units.

    Parameters
    ----------
    pods : sequence of Pod
        All that there are.
    now_s : float
        The end of what is not seen to end, epoch seconds.
    reasons : mapping of str to str, optional
        Why, by pod uid, where an order of ours is the cause.
    """
    said = reasons or {}
    writer = _Writer(book)
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
        _follow(writer, pod, now_s, why)
    seen = {pod.uid for pod in pods}
    for uid, entry in list(writer.units.items()):
        if entry.service == service and uid not in seen:
            _bury(writer, uid, entry, now_s, said.get(uid, ""))
    return replace(book, units=writer.units, events=(*book.events, *writer.events))


class _Writer:
    """Takes edges of units one by one."""

    def __init__(self, book: Book) -> None:
        self.units = dict(book.units)
        self.events: list[UnitEvent] = []
        self._tier, self._seq = book.tier, book.dropped + len(book.events)

    def move(self, uid: str, after: UnitState, at_s: float, reason: str = "") -> None:
        entry = self.units[uid]
        at_s = max(at_s, entry.since_s)
        lead_time_s = at_s - entry.ordered_s if after is UnitState.READY else entry.lead_time_s
        moved = replace(
            entry, state=after, since_s=at_s, lead_time_s=lead_time_s, reason=reason or entry.reason
        )
        self._seq += 1
        self.events.append(
            UnitEvent(
                self._tier, self._seq, entry.unit_id, entry.service, at_s, entry.state, after,
                at_s - entry.since_s, moved.reason, "kubernetes",
            )
        )  # fmt: skip
        if after is UnitState.GONE:
            del self.units[uid]
        else:
            self.units[uid] = moved


def _follow(writer: _Writer, pod: Pod, now_s: float, why: str) -> None:
    """Bring one unit to where its pod is; a ready one that is not ready for a while stays ready here."""
    if writer.units[pod.uid].state in _ENDED:
        if pod.state is UnitState.FAILED and writer.units[pod.uid].state is UnitState.DRAINING:
            writer.move(pod.uid, UnitState.FAILED, now_s, pod.reason)
        return
    order = list(UnitState)
    for state, at_s in pod.moments():
        if order.index(state) > order.index(writer.units[pod.uid].state):
            writer.move(pod.uid, state, at_s)
    if pod.state is UnitState.FAILED:
        writer.move(pod.uid, UnitState.FAILED, now_s, pod.reason)
    elif pod.drain_s is not None and writer.units[pod.uid].state is not UnitState.COLD:
        writer.move(pod.uid, UnitState.DRAINING, pod.drain_s, why)


def _bury(writer: _Writer, uid: str, entry: Entry, now_s: float, why: str) -> None:
    """A pod that is not there any more: gone, by the way of its life."""
    if entry.state is UnitState.FAILED:
        if entry.since_s < now_s - FAILED_SHOWN_S:
            del writer.units[uid]
        return
    if entry.state not in (UnitState.DRAINING, UnitState.COLD):
        writer.move(uid, UnitState.DRAINING, now_s, why)
    writer.move(uid, UnitState.GONE, now_s)


def dumps(book: Book) -> str:
    """The book as text."""
    return orjson.dumps(asdict(book)).decode()


def loads(text: str) -> Book:
    """The book from its text.

    Raises
    ------
    ValueError
        When somebody else wrote it.
    """
    try:
        kept = orjson.loads(text)
        units = {uid: _entry(each) for uid, each in kept["units"].items()}
        events = tuple(_event(each) for each in kept["events"])
        return Book(kept["tier"], int(kept["fence"]), int(kept["dropped"]), units, events)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no book of units: {error!r}") from error


def _entry(kept: dict[str, object]) -> Entry:
    return Entry(**kept | {"state": UnitState(str(kept["state"]))})  # type: ignore[arg-type]  # JSON


def _event(kept: dict[str, object]) -> UnitEvent:
    states = {key: UnitState(str(kept[key])) for key in ("before", "after")}
    return UnitEvent(**kept | states)  # type: ignore[arg-type]  # JSON
