"""Observation: what the tier logged goes into the store, exactly once."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from forecaster.domain.errors import ActuatorUnavailableError, StoreError
from forecaster.domain.ports import Actuator
from forecaster.domain.units import RequestRecord, UnitEvent
from forecaster.store import Store

T = TypeVar("T")
log = logging.getLogger(__name__)
BATCH = 10_000
MAX_BATCHES = 20
"""At most this many batches a tick: a long outage is caught up over several."""


def handed_out(
    pilots: Mapping[str, T], records: Sequence[RequestRecord], events: Sequence[UnitEvent]
) -> Iterator[tuple[T, list[RequestRecord], list[UnitEvent]]]:
    """Each service's share of what was observed; services of whom nothing came are left out."""
    own: dict[str, list[RequestRecord]] = defaultdict(list)
    lives: dict[str, list[UnitEvent]] = defaultdict(list)
    for record in records:
        own[record.service].append(record)
    for event in events:
        lives[event.service].append(event)
    for name in own.keys() | lives.keys():
        if name in pilots:
            yield pilots[name], own[name], lives[name]


class Observer:
    """Copies request records and unit events from the tier to the store.

    The tier keeps a bounded ring; the cursor is in the store, in the transaction of the rows.
    """

    def __init__(self, store: Store, actuator: Actuator) -> None:
        self.store = store
        self.actuator = actuator
        self.requests = 0
        self.said = ""

    def observe(self) -> tuple[list[RequestRecord], list[UnitEvent]]:
        """Copy what is new; return what was stored. Holds when either side is away."""
        records: list[RequestRecord] = []
        events: list[UnitEvent] = []
        try:
            request_seq, event_seq = self.store.tier_cursor(self.actuator.tier)
            self._copy_requests(request_seq, records)
            self._copy_events(event_seq, events)
        except (ActuatorUnavailableError, StoreError) as error:
            self._say(f"not observed: {error}")
        else:
            self.said = ""
        self.requests += len(records)
        return records, events

    def _say(self, text: str) -> None:
        """Once for each cause, not once a tick."""
        if text != self.said:
            log.warning("%s", text)
        self.said = text

    def _copy_requests(self, seq: int, copied: list[RequestRecord]) -> None:
        for _ in range(MAX_BATCHES):
            batch = self.actuator.requests_after(seq, BATCH)
            if not batch:
                break
            self.store.append_tier_requests(batch)
            copied += batch
            seq = batch[-1].seq
            if len(batch) < BATCH:
                break

    def _copy_events(self, seq: int, copied: list[UnitEvent]) -> None:
        events = list(self.actuator.events_after(seq, BATCH))
        if events:
            self.store.append_unit_events(events)
            copied += events
