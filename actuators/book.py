"""The book of a fleet's units: they come and go, what they did is numbered and written down.

For adapters whose units live elsewhere (pods, models on somebody's servers): the adapter looks at its world and
tells a `Writer` what moved; the book keeps the numbers and what nobody has read yet, as text that can be kept
anywhere.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import orjson

from actuators.fence import Fence
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.pools import Pool
from forecaster.domain.units import UnitEvent

KEPT = 200
"""Events that stay to be read again, as in a tier's ring."""
FAILED_SHOWN_S = 3600.0
PAUSE_S = 300.0
"""Who was not looked at for longer and is ready then became so at a moment that nobody knows."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A unit as it stands in the book, by the last event that it had."""

    unit_id: str
    service: str
    state: UnitState
    ordered_s: float
    since_s: float
    lead_time_s: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Book:
    """Units by what identifies them there, and the events that nobody has read yet.

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


def watched(since_s: float, looked_s: float, now_s: float) -> bool:
    """Whether a unit was looked at shortly before, so that its lead can be told.

    Parameters
    ----------
    since_s : float
        When it entered its present state, epoch seconds.
    looked_s : float
        When somebody looked last, epoch seconds; 0 where that is not known, as after a restart.

    Examples
    --------
    Ordered at 1000 and looked at ever since; then a look after an hour in which nobody was there:

    >>> watched(1000.0, 1540.0, 1600.0), watched(1000.0, 0.0, 4600.0)
    (True, False)
    """
    return now_s - max(looked_s, since_s) <= PAUSE_S


def new_book() -> Book:
    """An empty book with numbers of its own."""
    return Book(tier=uuid.uuid4().hex)


class Writer:
    """Takes edges of units one by one.

    Parameters
    ----------
    book : Book
        As it stands; it is not changed.
    provider : str
        What runs the units.

    Attributes
    ----------
    seq : int
        Number of the last event.
    """

    def __init__(self, book: Book, provider: str) -> None:
        self._book, self._provider = book, provider
        self.units = dict(book.units)
        self.events: list[UnitEvent] = []
        self._tier, self.seq = book.tier, book.dropped + len(book.events)

    @property
    def book(self) -> Book:
        """The book with what was taken down."""
        events = (*self._book.events, *self.events)
        return replace(self._book, units=self.units, events=events)

    def move(
        self, uid: str, after: UnitState, at_s: float, reason: str = "", *, seen: bool = True
    ) -> None:
        """Move a unit along an edge of its life; at the end it leaves the book.

        Parameters
        ----------
        seen : bool
            Whether it was seen when it took the edge, see `watched`: otherwise how long it was on the
            way is not known.
        """
        entry = self.units[uid]
        at_s = max(at_s, entry.since_s)
        lead_time_s = at_s - entry.ordered_s if after is UnitState.READY else entry.lead_time_s
        moved = replace(
            entry, state=after, since_s=at_s, lead_time_s=lead_time_s, reason=reason or entry.reason
        )
        self.seq += 1
        self.events.append(
            UnitEvent(
                self._tier, self.seq, entry.unit_id, entry.service, at_s, entry.state, after,
                at_s - entry.since_s if seen else math.nan, moved.reason, self._provider,
            )
        )  # fmt: skip
        if after is UnitState.GONE:
            del self.units[uid]
        else:
            self.units[uid] = moved


def fenced(book: Book, number: int) -> Book:
    """The book with a leader written down.

    Raises
    ------
    FencedError
        When a later one was here.
    """
    fence = Fence()
    fence.check(book.fence)
    fence.check(number)
    return replace(book, fence=max(book.fence, number))


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
        events = tuple(event_of(each) for each in kept["events"])
        return Book(kept["tier"], int(kept["fence"]), int(kept["dropped"]), units, events)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no book of units: {error!r}") from error


def _entry(kept: dict[str, object]) -> Entry:
    return Entry(**kept | {"state": UnitState(str(kept["state"]))})  # type: ignore[arg-type]  # JSON


def event_of(kept: dict[str, object]) -> UnitEvent:
    """An event from what JSON made of it, which has no NaN."""
    states = {key: UnitState(str(kept[key])) for key in ("before", "after")}
    pool = {"pool": Pool(str(kept.get("pool", "")))}
    seconds = {"seconds": math.nan if kept["seconds"] is None else kept["seconds"]}
    return UnitEvent(**kept | states | pool | seconds)  # type: ignore[arg-type]  # JSON
