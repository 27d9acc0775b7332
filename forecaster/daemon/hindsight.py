"""Hindsight: a slot that closed, beside the units that were ready in it, where nobody reports single requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np

from forecaster.daemon.error_budget import Spent
from forecaster.domain.demand import FloatArray, IntArray
from forecaster.domain.reported import Reported

MOST = 512
"""Pieces that are remembered while no slot closes, as while the database is away."""
ODD_TICKS = 3.0
"""After a pause of so many ticks nobody knows what was ready meanwhile."""


class Curve(Protocol):
    """What a fleet does to its requests; a sizing table is one."""

    def violation_share(self, units: IntArray, rate_rps: FloatArray | float) -> FloatArray:
        """Share of the requests outside the SLO."""
        ...


class Closed(NamedTuple):
    """Slots whose demand has come to be known.

    Attributes
    ----------
    start_s, slot_s : float
        Start of the first, epoch seconds; length of each.
    load : float64[n]
        Requests of mean size; NaN where nothing is known.
    """

    start_s: float
    slot_s: float
    load: FloatArray

    @property
    def end_s(self) -> float:
        """End of the last."""
        return self.start_s + self.load.size * self.slot_s


class Expected(NamedTuple):
    """What the plan in force expects outside the SLO.

    Attributes
    ----------
    start_s, slot_s : float
        Start of its first slot, epoch seconds; length of each.
    rows_rps : float64[n, N + 1]
        Requests/s outside in each slot with 0..N units ready.
    """

    start_s: float
    slot_s: float
    rows_rps: FloatArray

    def outside_rps(self, ready: int, at_s: float) -> float:
        """Requests/s outside at a moment; the last slot is thought to go on."""
        rows = self.rows_rps
        row = rows[min(max(int((at_s - self.start_s) // self.slot_s), 0), len(rows) - 1)]
        return float(row[min(ready, row.size - 1)])


NOTHING = Expected(0.0, 1.0, np.zeros((1, 1)))
"""Before the first plan."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A time in which as many units were ready.

    Attributes
    ----------
    from_s, to_s : float
        Epoch seconds.
    ready : int
        Units.
    foreseen_rps : float
        Requests/s that the plan in force expected outside with them.
    """

    from_s: float
    to_s: float
    ready: int
    foreseen_rps: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.to_s - self.from_s


class Hindsight:
    """What was ready, and what was expected of it, until the slot of that time has closed.

    Parameters
    ----------
    tick_s : float
        Seconds between two notes, usually.

    Examples
    --------
    >>> seen = Hindsight(tick_s=30.0)
    >>> for at_s in (0.0, 30.0, 60.0, 90.0):
    ...     seen.note(at_s, ready=2 if at_s < 60 else 3, foreseen_rps=0.1)
    >>> [(each.seconds, each.ready) for each in seen.during(15.0, 75.0)]
    [(45.0, 2), (15.0, 3)]

    What was not seen from end to end is not known:

    >>> seen.during(60.0, 120.0)
    ()
    """

    def __init__(self, tick_s: float) -> None:
        self._lost_s = ODD_TICKS * tick_s
        self._pieces: deque[Piece] = deque(maxlen=MOST)
        self._now: tuple[float, int, float] | None = None

    def note(self, at_s: float, ready: int, foreseen_rps: float) -> None:
        """Take note of a tick."""
        before = self._now
        self._now = (at_s, ready, foreseen_rps)
        if before is None or not 0 < at_s - before[0] <= self._lost_s:
            return
        piece = Piece(before[0], at_s, before[1], before[2])
        last = self._pieces[-1] if self._pieces else None
        if last and (last.to_s, last.ready, last.foreseen_rps) == (piece.from_s, *before[1:]):
            self._pieces[-1] = Piece(last.from_s, at_s, *before[1:])
        else:
            self._pieces.append(piece)

    def during(self, from_s: float, to_s: float) -> tuple[Piece, ...]:
        """The pieces of a range; none where it was not seen from end to end."""
        found = tuple(
            Piece(max(each.from_s, from_s), min(each.to_s, to_s), each.ready, each.foreseen_rps)
            for each in self._pieces
            if each.to_s > from_s and each.from_s < to_s
        )
        whole = found and found[0].from_s == from_s and found[-1].to_s == to_s
        unbroken = all(one.to_s == two.from_s for one, two in pairwise(found))
        return found if whole and unbroken else ()

    def forget(self, before_s: float) -> None:
        """Leave out what lies before a moment."""
        while self._pieces and self._pieces[0].to_s <= before_s:
            self._pieces.popleft()


MIXED = -1
"""Other fleets in one slot: what they carried cannot be told apart."""


class Slot(NamedTuple):
    """A slot that closed.

    Attributes
    ----------
    seconds : float
        Its length.
    load : float
        Requests of mean size that arrived.
    pieces : tuple of Piece
        What was ready; empty where that was not seen from end to end.
    counted, outside : float
        Requests that ended, and those of them outside the SLO, as the model server says; 0 where it says nothing.
    """

    seconds: float
    load: float
    pieces: tuple[Piece, ...]
    counted: float
    outside: float

    @property
    def ready(self) -> int:
        """Units that were ready all the time, or `MIXED`."""
        fleets = {each.ready for each in self.pieces}
        return fleets.pop() if len(fleets) == 1 else MIXED

    @property
    def foreseen(self) -> float:
        """Requests that the plan of then expected outside."""
        return sum(each.seconds * each.foreseen_rps for each in self.pieces)

    def measured(self, log_sample: float) -> Spent:
        """What was reported, of the requests that the log keeps; where nobody knows what was ready, as much was foreseen as came."""
        foreseen = self.foreseen * log_sample if self.pieces else self.outside
        return Spent(self.outside, self.counted, foreseen)


def seen_again(closed: Closed, hindsight: Hindsight, said: Reported) -> Iterator[Slot]:
    """Slots that closed, with all that is known of them; those of which too little is known are left out."""
    for i in np.flatnonzero(np.isfinite(closed.load)).tolist():
        start_s = closed.start_s + i * closed.slot_s
        end_s = start_s + closed.slot_s
        found = Slot(
            closed.slot_s, float(closed.load[i]), hindsight.during(start_s, end_s),
            *said.between(start_s, end_s),
        )  # fmt: skip
        if found.pieces or found.counted:
            yield found


def reckoned(curve: Curve, slot: Slot, rate_rps: float) -> Spent:
    """What a sizing table says of the requests of a slot with the units that were ready in it.

    Parameters
    ----------
    curve : Curve
        The sizing table, as it is believed.
    rate_rps : float
        Load of the slot, in the table's requests/s.
    """
    shares = curve.violation_share(np.array([each.ready for each in slot.pieces]), rate_rps)
    weights = np.array([each.seconds for each in slot.pieces]) / slot.seconds
    return Spent(slot.load * float(weights @ shares), slot.load, slot.foreseen)
