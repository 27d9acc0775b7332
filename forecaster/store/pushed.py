"""What senders push: samples kept for a day by minute, spans that become requests once."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from forecaster.demand.sampled import newest_of_minutes
from forecaster.domain.demand import RequestBatch
from forecaster.domain.samples import Due, Kept, Point, Stream
from forecaster.store.pool import Connection, Pool
from forecaster.store.queries import queries
from forecaster.store.requests import append_log
from forecaster.store.services import service_ids

_SQL = queries("pushed")
KEPT_S = 86_400.0
"""What is older is refused: whether it was counted is not known any more."""
SPARE_S = 7_200.0
"""Kept beyond that, so that what is refused is never what was just forgotten."""
BEGAN_MOST_S = 600.0
"""A series that began longer before its first sample has a past that is nobody's demand."""


class Pushed:
    """Samples and spans; each method one transaction."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def put(self, service: str, streams: Sequence[Stream]) -> None:
        """Keep samples; again, late or out of order changes nothing that it should not."""
        by_key = _by_key(streams)
        if not by_key:
            return
        keys = sorted(by_key)
        with self._pool.transaction() as connection:
            number = service_ids(connection, [service])[service]
            new = _add_series(connection, number, {key: by_key[key] for key in keys})
            grown = _increments(connection, number, by_key)
            rows = [
                (key, end, point.at_s, point.value)
                for key in keys
                for end, point in _minutes(by_key[key], grown.get(key), key in new).items()
            ]
            if rows:
                _put_rows(connection, number, rows)

    def take(self, service: str) -> Due | None:
        """What is to be counted, from now on ours until `taken`; None where nothing came ever."""
        with self._pool.transaction() as connection:
            row = connection.execute(_SQL["take"], {"service": service}).fetchone()
        return None if row is None or row[0] is None else Due(*row)

    def taken(self, service: str, until_s: int) -> None:
        """Say that everything before is counted; what came meanwhile stays due."""
        with self._pool.transaction() as connection:
            connection.execute(_SQL["taken"], {"service": service, "until_s": until_s})

    def kept(self, service: str, name: str, from_s: float, to_s: float) -> list[Kept]:
        """Samples of every series of a name, by minutes that end in ``[from_s, to_s]``."""
        asked = {"service": service, "name": name, "from_s": from_s, "to_s": to_s}
        with self._pool.transaction() as connection:
            rows = connection.execute(_SQL["kept"], asked).fetchall()
        return [
            Kept(labels, since_s, np.array(ends, np.int64), np.array(at_s), np.array(values))
            for labels, since_s, ends, at_s, values in rows
        ]

    def add_spans(self, batch: RequestBatch, ids: Sequence[bytes]) -> int:
        """Store requests, each span once; return how many were new."""
        with self._pool.transaction() as connection:
            numbers = service_ids(connection, [batch.service])
            first = {name: row for row, name in reversed(list(enumerate(ids)))}
            asked = {
                "ids": list(first), "arrival_s": [float(batch.arrival_s[r]) for r in first.values()]
            }  # fmt: skip
            new = {bytes(row[0]) for row in connection.execute(_SQL["add_spans"], asked)}
            rows = np.array([row for name, row in first.items() if name in new], np.int64)
            if rows.size:
                append_log(connection, numbers, [batch.take(rows)])
        return len(new)

    def forget(self, now_s: float) -> None:
        """Drop what is past its day."""
        before = {"before_s": now_s - KEPT_S - SPARE_S}
        for name in ("forget_samples", "forget_series", "forget_spans"):
            with self._pool.transaction() as connection:
                connection.execute(_SQL[name], before)

    def newest(self) -> dict[str, float]:
        """The newest sample of each service, epoch seconds."""
        with self._pool.transaction() as connection:
            return dict(connection.execute(_SQL["newest"]).fetchall())


def _by_key(streams: Sequence[Stream]) -> dict[bytes, Stream]:
    """One stream a series."""
    found: dict[bytes, Stream] = {}
    for stream in filter(lambda stream: stream.points, streams):
        # PostgreSQL's texts hold no NUL
        labels = {k.replace("\0", ""): v.replace("\0", "") for k, v in stream.labels.items()}
        each = replace(stream, labels=labels)
        key = _key(each)
        had = found.get(key)
        found[key] = replace(each, points=had.points + each.points) if had else each
    return found


def _key(stream: Stream) -> bytes:
    named = orjson.dumps([stream.name, stream.labels], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(named).digest()[:16]


def _add_series(connection: Connection, number: int, by_key: Mapping[bytes, Stream]) -> set[bytes]:
    """Add series that are not known; return which those are."""
    streams = by_key.values()
    asked = {
        "service_id": number,
        "keys": list(by_key),
        "names": [each.name for each in streams],
        "labels": [orjson.dumps(each.labels).decode() for each in streams],
        "since_s": [min(point.at_s for point in each.points) for each in streams],
    }
    return {bytes(row[0]) for row in connection.execute(_SQL["add_series"], asked)}


def _increments(
    connection: Connection, number: int, by_key: Mapping[bytes, Stream]
) -> dict[bytes, list[Point]]:
    """Increments as a counter; one that was added before, or is older than what was, is left out.

    The points of the counter, and before each what it stood at where the increment began.
    """
    keys = sorted(key for key, each in by_key.items() if each.delta)
    if not keys:
        return {}
    found: dict[bytes, list[Point]] = {}
    ends: list[tuple[bytes, float, float]] = []
    for row in connection.execute(_SQL["running"], {"service_id": number, "keys": keys}).fetchall():
        key, total, until_s = bytes(row[0]), float(row[1]), row[2]
        points: list[Point] = []
        for point in sorted(by_key[key].points):
            if until_s is None or point.at_s > until_s:
                if _lately(point):
                    points.append(Point(_floor(point.began_s), total))
                total, until_s = total + point.value, point.at_s
                points.append(Point(point.at_s, total))
        found[key] = points
        if points:
            ends.append((key, total, until_s))
    if ends:
        columns = dict(
            zip(("keys", "running", "until_s"), map(list, zip(*ends, strict=True)), strict=True)
        )
        connection.execute(_SQL["run"], {"service_id": number, **columns})
    return found


def _minutes(stream: Stream, grown: list[Point] | None, new: bool) -> dict[int, Point]:
    """What is kept of a stream: by minute, and the nothing that a new counter began with."""
    points = list(stream.points) if grown is None else grown
    if new and grown is None:
        first = min(points)
        if _lately(first):
            points.append(Point(_floor(first.began_s), 0.0))
    return newest_of_minutes(points)


def _lately(point: Point) -> bool:
    """Whether it says since when it counts, and that is near."""
    return 0 <= point.at_s - point.began_s <= BEGAN_MOST_S


def _floor(at_s: float) -> float:
    """Start of the minute of a moment, epoch seconds."""
    return math.floor(at_s / 60) * 60.0


def _put_rows(
    connection: Connection, number: int, rows: Sequence[tuple[bytes, int, float, float]]
) -> None:
    keys, ends, at_s, values = map(list, zip(*rows, strict=True))
    asked: dict[str, Any] = {
        "service_id": number, "keys": keys, "minute_s": ends, "at_s": at_s, "values": values,
    }  # fmt: skip
    connection.execute(_SQL["put"], asked)
    span = {"service_id": number, "first_s": min(ends), "last_s": max(ends)}
    connection.execute(_SQL["due"], span)
