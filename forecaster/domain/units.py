"""Units and fleets as the tier reports them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from forecaster.domain.deferred import Backlog
from forecaster.domain.lifecycle import WARMING_STATES, UnitState
from forecaster.domain.pools import Pool


@dataclass(frozen=True, slots=True)
class UnitView:
    """One unit at one moment.

    Attributes
    ----------
    unit_id : str
        Unique over the life of the installation.
    service : str
        The service it serves.
    state : UnitState
        Where it is in its life.
    ordered_s : float
        When it was ordered, epoch seconds on the installation's clock.
    since_s : float
        When it entered its present state, epoch seconds.
    lead_time_s : float or None
        Seconds from the order to the answered warm-up request; None before that.
    in_flight : int
        Requests accepted and not yet answered.
    provider : str
        The execution provider that the session truly got; empty before loading.
    reason : str
        Why it was ordered, drained or failed.
    pool : Pool
        What it does for its service.
    """

    unit_id: str
    service: str
    state: UnitState
    ordered_s: float
    since_s: float
    lead_time_s: float | None = None
    in_flight: int = 0
    provider: str = ""
    reason: str = ""
    pool: Pool = Pool.WHOLE


@dataclass(frozen=True, slots=True)
class Fleet:
    """The units of one service, observed at `observed_s` (epoch seconds).

    Attributes
    ----------
    backlog : tuple of Backlog
        Batch work that waits for them, where the tier keeps it.
    batch_in_flight : int
        Requests of the batch class among those that they hold.
    """

    service: str
    observed_s: float
    units: tuple[UnitView, ...] = ()
    backlog: tuple[Backlog, ...] = ()
    batch_in_flight: int = 0

    def count(self, *states: UnitState) -> int:
        """Number of units in any of `states`."""
        return sum(unit.state in states for unit in self.units)

    def by_pool(self, *states: UnitState) -> dict[Pool, int]:
        """Number of units in any of `states`, by what they do."""
        return dict(Counter(unit.pool for unit in self.units if unit.state in states))

    @property
    def ready(self) -> int:
        """Units that are routed to."""
        return self.count(UnitState.READY)

    @property
    def warming(self) -> int:
        """Units ordered and not yet ready: paid for, not supply."""
        return self.count(*WARMING_STATES)

    @property
    def draining(self) -> int:
        """Units that finish their last requests."""
        return self.count(UnitState.DRAINING)


@dataclass(frozen=True, slots=True)
class UnitEvent:
    """One edge of one unit's life, numbered by the tier: the ledger is the sum of these.

    Attributes
    ----------
    seq : int
        Number of the event within `tier`, from 1, without gaps.
    at_s : float
        When the edge was taken, epoch seconds on the installation's clock.
    seconds : float
        How long the unit was in `before`; NaN for one that was found ready after nobody had looked for a
        while: how long it took to start is not known.
    pool : Pool
        What the unit does for its service.
    """

    tier: str
    seq: int
    unit_id: str
    service: str
    at_s: float
    before: UnitState
    after: UnitState
    seconds: float
    reason: str = ""
    provider: str = ""
    pool: Pool = Pool.WHOLE


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One answered (or refused) request, as the tier logged it: the next forecast's input.

    Attributes
    ----------
    seq : int
        Number within `tier`, from 1, without gaps: makes ingestion exactly-once.
    arrival_s : float
        Arrival, epoch seconds on the installation's clock.
    ttft_s, tpot_s, latency_s : float
        Measured in real seconds; NaN where it has no meaning (classic models have no TPOT).
    status : int
        HTTP status that was answered.
    batch : bool
        Whether it might wait: batch work is no part of the tide, nor held to the SLO.
    """

    tier: str
    seq: int
    service: str
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    ttft_s: float
    tpot_s: float
    latency_s: float
    unit_id: str
    status: int
    batch: bool = False
