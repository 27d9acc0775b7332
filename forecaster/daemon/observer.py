"""Observation: what the tier logged goes into the store, exactly once."""

from __future__ import annotations

import logging

from forecaster.domain.errors import ActuatorUnavailableError, StoreError
from forecaster.domain.ports import Actuator
from forecaster.domain.units import RequestRecord, UnitEvent
from forecaster.store import Store

log = logging.getLogger(__name__)
BATCH = 10_000
MAX_BATCHES = 20
"""At most this many batches a tick: a long outage is caught up over several."""


class Observer:
    """Copies request records and unit events from the tier to the store.

    The tier keeps a bounded ring; the cursor is in the store, in the transaction of the rows.
    """

    def __init__(self, store: Store, actuator: Actuator) -> None:
        self.store = store
        self.actuator = actuator
        self.requests = 0

    def observe(self) -> tuple[list[RequestRecord], list[UnitEvent]]:
        """Copy what is new; return it. Holds (returns nothing) when either side is away."""
        try:
            request_seq, event_seq = self.store.tier_cursor(self.actuator.tier)
            records = self._copy_requests(request_seq)
            events = self._copy_events(event_seq)
        except (ActuatorUnavailableError, StoreError) as error:
            log.warning("not observed: %s", error)
            return [], []
        self.requests += len(records)
        return records, events

    def _copy_requests(self, seq: int) -> list[RequestRecord]:
        copied: list[RequestRecord] = []
        for _ in range(MAX_BATCHES):
            batch = self.actuator.requests_after(seq, BATCH)
            if not batch:
                break
            self.store.append_tier_requests(batch)
            copied += batch
            seq = batch[-1].seq
            if len(batch) < BATCH:
                break
        return copied

    def _copy_events(self, seq: int) -> list[UnitEvent]:
        events = list(self.actuator.events_after(seq, BATCH))
        if events:
            self.store.append_unit_events(events)
        return events
