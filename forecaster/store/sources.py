"""Where the reading of each log stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import orjson

from forecaster.domain.demand import LogSource, RequestBatch
from forecaster.domain.errors import StoreError
from forecaster.store.pool import Connection
from forecaster.store.queries import queries

_SQL = queries("source")


def head_lengths(connection: Connection, service: str) -> list[int]:
    """Lengths of the heads that are stored, so that a reader knows what to hash."""
    return [row[0] for row in connection.execute(_SQL["head_lengths"], {"service": service})]


def sources_with_heads(
    connection: Connection, service: str, heads: Sequence[str]
) -> list[LogSource]:
    """Candidates for a log with one of these head hashes, the furthest read first."""
    wanted = {"service": service, "heads": list(heads)}
    connection.execute(_SQL["lock_heads"], wanted)
    rows = connection.execute(_SQL["with_heads"], wanted)
    return [_source(row) for row in rows]


def read_at(connection: Connection, service: str, name: str) -> float | None:
    """When a log of this name was last read, epoch seconds; None for never."""
    row = connection.execute(_SQL["read_at"], {"service": service, "name": name}).fetchone()
    return None if row is None else row[0]


def advance(connection: Connection, before: LogSource, after: LogSource) -> LogSource:
    """Move the source from `before` to `after`, holding its lock until the transaction ends.

    Raises
    ------
    StoreError
        When another process has read on meanwhile: nothing is stored.
    """
    values = {**asdict(after), "tail": _tail_json(after.tail)}
    if before.source_id == 0:
        connection.execute(_SQL["lock_head"], values)
        rivals = connection.execute(_SQL["rivals"], values).fetchone()
        if rivals is not None and rivals[0] != before.rivals:
            raise _overtaken(before)
        added = connection.execute(_SQL["add"], values).fetchone()
        assert added is not None
        return replace(after, source_id=added[0])
    stands_at = connection.execute(_SQL["lock"], {"source_id": before.source_id}).fetchone()
    if stands_at is None or stands_at[0] != before.offset:
        raise _overtaken(before)
    connection.execute(_SQL["advance"], values)
    return after


def _overtaken(source: LogSource) -> StoreError:
    return StoreError(
        f"another process is ingesting {source.name}",
        "nothing was stored twice: wait for it and repeat the command",
    )


def _source(row: tuple[Any, ...]) -> LogSource:
    names = (
        "source_id head_bytes head_sha256 service name offset prefix_sha256 marks "
        "lines accepted rejected tail tail_offset tail_lines"
    )
    values = dict(zip(names.split(), row, strict=True))
    tail = values["tail"]
    if tail is not None:
        values["tail"] = RequestBatch(
            tail["service"],
            np.array([tail["arrival_s"]]),
            np.array([tail["prompt_tokens"]], np.int64),
            np.array([tail["output_tokens"]], np.int64),
        )
    return LogSource(**values)


def _tail_json(tail: RequestBatch | None) -> str | None:
    if tail is None:
        return None
    row = {
        "service": tail.service,
        "arrival_s": float(tail.arrival_s[0]),
        "prompt_tokens": int(tail.prompt_tokens[0]),
        "output_tokens": int(tail.output_tokens[0]),
    }
    return orjson.dumps(row).decode()
