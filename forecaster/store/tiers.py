"""What the serving tiers report: answered requests and unit events, each number taken once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, TypeVar

import numpy as np

from forecaster.domain.demand import RequestBatch
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.pools import Pool
from forecaster.domain.units import RequestRecord, UnitEvent
from forecaster.store.pool import Connection
from forecaster.store.queries import queries
from forecaster.store.requests import SQL as REQUEST_SQL
from forecaster.store.requests import add_days, add_demand

_SQL = queries("unit_event")

T = TypeVar("T", RequestRecord, UnitEvent)

_REQUEST_TYPES = [
    "int4",
    "timestamptz",
    "int4",
    "int4",
    "float4",
    "float4",
    "float4",
    "int2",
    "text",
]
_EVENT_TYPES = [
    "text",
    "int8",
    "text",
    "int4",
    "timestamptz",
    "text",
    "text",
    "float8",
    "text",
    "text",
    "text",
]


def tier_cursor(connection: Connection, tier: str) -> tuple[int, int]:
    """Return the last request and event number that were stored; 0 before the first."""
    row = connection.execute(REQUEST_SQL["tier_cursor"], {"tier": tier}).fetchone()
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


def append_tier_requests(
    connection: Connection, ids: Mapping[str, int], tier: str, records: Sequence[RequestRecord]
) -> int:
    """Store the records numbered above the tier's cursor and bin them; return how many.

    Batch work is no part of the tide: the cursor passes it, its results are in the batch's own files.
    """
    cursor_seq = _locked_cursor(connection, tier)[0]
    new = _above(records, cursor_seq)
    if not new:
        return 0
    if tide := [record for record in new if not record.batch]:
        add_days(connection, np.array([record.arrival_s for record in tide]))
        with connection.cursor() as cursor, cursor.copy(REQUEST_SQL["copy_tier"]) as copy:
            copy.set_types(_REQUEST_TYPES)
            for record in tide:
                copy.write_row(_request_row(ids[record.service], record))
        add_demand(connection, ids, _batches(tide))
    connection.execute(REQUEST_SQL["tier_requests_read"], {"tier": tier, "seq": new[-1].seq})
    return len(new)


def append_unit_events(
    connection: Connection, ids: Mapping[str, int], tier: str, events: Sequence[UnitEvent]
) -> int:
    """Store the events numbered above the tier's cursor; return how many."""
    cursor_seq = _locked_cursor(connection, tier)[1]
    new = _above(events, cursor_seq)
    if not new:
        return 0
    with connection.cursor() as cursor, cursor.copy(_SQL["copy"]) as copy:
        copy.set_types(_EVENT_TYPES)
        for event in new:
            copy.write_row(
                (
                    event.tier,
                    event.seq,
                    event.unit_id,
                    ids[event.service],
                    datetime.fromtimestamp(event.at_s, UTC),
                    str(event.before),
                    str(event.after),
                    event.seconds,
                    event.reason,
                    event.provider,
                    str(event.pool),
                )
            )
    connection.execute(_SQL["live"], {"tier": tier, "seq": cursor_seq})
    connection.execute(REQUEST_SQL["tier_events_read"], {"tier": tier, "seq": new[-1].seq})
    return len(new)


def unit_events(connection: Connection, service: str, bounds: Mapping[str, Any]) -> list[UnitEvent]:
    """Events of the service's units in the range, in order."""
    return as_events(service, connection.execute(_SQL["between"], bounds))


def as_events(service: str, rows: Iterable[tuple[Any, ...]]) -> list[UnitEvent]:
    """Rows of one service's events as values."""
    return [
        UnitEvent(
            tier=tier,
            seq=seq,
            unit_id=unit_id,
            service=service,
            at_s=at_s,
            before=UnitState(before),
            after=UnitState(after),
            seconds=seconds,
            reason=reason,
            provider=provider,
            pool=Pool(pool),
        )
        for tier, seq, unit_id, at_s, before, after, seconds, reason, provider, pool in rows
    ]


def by_tier(values: Sequence[T]) -> dict[str, list[T]]:
    """Group by tier."""
    ordered = sorted(values, key=lambda value: value.tier)
    return {tier: list(group) for tier, group in groupby(ordered, key=lambda value: value.tier)}


def _locked_cursor(connection: Connection, tier: str) -> tuple[int, int]:
    connection.execute(REQUEST_SQL["tier_add"], {"tier": tier})
    row = connection.execute(REQUEST_SQL["tier_lock"], {"tier": tier}).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def _above(values: Sequence[T], seq: int) -> list[T]:
    """Values numbered above `seq`, each number once, in order."""
    numbered = {value.seq: value for value in values if value.seq > seq}
    return [numbered[number] for number in sorted(numbered)]


def _batches(records: Sequence[RequestRecord]) -> list[RequestBatch]:
    batches = []
    for service in sorted({record.service for record in records}):
        rows = [record for record in records if record.service == service]
        arrival_us = np.rint(np.array([record.arrival_s for record in rows]) * 1e6)
        prompt = np.array([record.prompt_tokens for record in rows], np.int64)
        output = np.array([record.output_tokens for record in rows], np.int64)
        batches.append(RequestBatch(service, arrival_us / 1e6, prompt, output))
    return batches


def _request_row(number: int, record: RequestRecord) -> tuple[Any, ...]:
    return (
        number,
        datetime.fromtimestamp(record.arrival_s, UTC),
        record.prompt_tokens,
        record.output_tokens,
        _or_null(record.ttft_s),
        _or_null(record.tpot_s),
        _or_null(record.latency_s),
        record.status,
        record.unit_id,
    )


def _or_null(value_s: float) -> float | None:
    return None if math.isnan(value_s) else value_s
