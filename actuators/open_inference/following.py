"""What a look at a server says about a unit: the edges that it took, and what is to be done next."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from actuators.book import Entry
from actuators.open_inference.host import Loaded
from forecaster.domain.lifecycle import WARMING_STATES, UnitState

LOADED = "loaded while nobody looked"


class Job(Enum):
    """What takes a while on a server."""

    LOAD = "load"
    UNLOAD = "unload"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended.

    Attributes
    ----------
    failed : str
        Why it did not do what it should; empty: it did.
    note : str
        What else there is to say.
    """

    failed: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take, clock seconds.

    Attributes
    ----------
    route_s : float
        From the moment a unit leaves the routes until everyone who routes has heard of it.
    drain_s : float
        A unit that never falls quiet is unloaded after this.
    lost_s : float
        A server that was away for so long has lost its unit.
    """

    route_s: float = 5.0
    drain_s: float = 60.0
    lost_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Look:
    """A moment of one unit.

    Attributes
    ----------
    loaded : Loaded or None
        What its server says of the model; None while it is away.
    away_s : float
        How long it has been away.
    running : bool
        Whether a job of this unit runs.
    ended : Outcome or None
        How a job ended since the last look.
    quiet : bool
        Whether nothing was asked of the model between the last two looks.
    """

    loaded: Loaded | None
    away_s: float = 0.0
    running: bool = False
    ended: Outcome | None = None
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Next:
    """Edges to write down, each with its reason, and the job to begin."""

    moves: tuple[tuple[UnitState, str], ...] = ()
    job: Job | None = None


def next_of(entry: Entry, look: Look, now_s: float, patience: Patience) -> Next:
    """What follows for a unit.

    Parameters
    ----------
    entry : Entry
        As the book has it.
    now_s : float
        Epoch seconds.
    """
    if look.running:
        return Next()
    if look.away_s >= patience.lost_s and entry.state is not UnitState.FAILED:
        return _lost(entry, look.away_s)
    if entry.state in WARMING_STATES:
        return _warming(entry, look)
    if entry.state is UnitState.READY:
        return _ready(look)
    if entry.state is UnitState.DRAINING:
        return _draining(entry, look, now_s, patience)
    return Next()


def _lost(entry: Entry, away_s: float) -> Next:
    reason = f"its server has not answered for {away_s:.0f} s"
    over = UnitState.GONE if entry.state is UnitState.DRAINING else UnitState.FAILED
    return Next(((over, reason),))


def _warming(entry: Entry, look: Look) -> Next:
    if look.ended is None:  # nobody works on it: we were started anew in between
        if look.loaded is not None and look.loaded.ready:
            why = "; ".join(filter(None, (entry.reason, LOADED)))
            return Next(((UnitState.WARMING, why), (UnitState.READY, why)))
        return Next(job=Job.LOAD if look.loaded is not None else None)
    if look.ended.failed:
        return Next(((UnitState.FAILED, look.ended.failed),))
    said = _said(entry, look.ended)
    return Next(((UnitState.WARMING, said), (UnitState.READY, said)))


def _ready(look: Look) -> Next:
    loaded = look.loaded
    if loaded is None or loaded.ready or loaded.state == "LOADING":
        return Next()
    reason = f"its server says {loaded.state or 'not loaded'} {loaded.reason}".strip()
    return Next(((UnitState.FAILED, reason),))


def _draining(entry: Entry, look: Look, now_s: float, patience: Patience) -> Next:
    loaded = look.loaded
    if loaded is None or loaded.state == "UNLOADING":
        return Next()
    if loaded.idle:
        return Next(((UnitState.GONE, _said(entry, look.ended)),))
    waited_s = now_s - entry.since_s
    never_routed = entry.lead_time_s is None
    heard = waited_s >= patience.route_s and (look.quiet or waited_s >= patience.drain_s)
    return Next(job=Job.UNLOAD if never_routed or heard else None)


def _said(entry: Entry, ended: Outcome | None) -> str:
    """The reason of the order, and what is to be noted beside it."""
    return "; ".join(filter(None, (entry.reason, ended.note if ended is not None else "")))
