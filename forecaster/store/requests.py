"""Single requests: appended once, together with the demand that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from forecaster.demand import bin_requests, empty_sums, merge, subtract
from forecaster.domain.answers import Answers
from forecaster.domain.demand import FloatArray, IntArray, RequestBatch, SlotSums
from forecaster.store.meters import refuse_metered
from forecaster.store.pgcopy import epoch_seconds, microseconds, parse, render
from forecaster.store.pool import Connection
from forecaster.store.queries import queries
from forecaster.store.rows import Served, native
from forecaster.store.services import Counted, count_requests, lock_services
from forecaster.store.slots import change_slots

SQL = queries("request")

_DAY_S = 86400
_TIMES = ("ttft_s", "tpot_s", "latency_s")
_ANSWER = {**dict.fromkeys(_TIMES, ">f4"), "status": ">i2"}
_COPY_PIECE_BYTES = 1 << 20


def append_log(
    connection: Connection, ids: Mapping[str, int], batches: Sequence[RequestBatch]
) -> None:
    """Store requests of an imported log; the caller advances the source in the same transaction."""
    batches = [batch for batch in batches if len(batch)]
    if not batches:
        return
    arrival_s = np.concatenate([batch.arrival_s for batch in batches])
    add_days(connection, arrival_s)
    service = np.repeat([ids[batch.service] for batch in batches], [len(b) for b in batches])
    columns: dict[str, tuple[str, npt.NDArray[Any]]] = {
        "service_id": (">i4", service),
        "arrival": (">i8", microseconds(arrival_s)),
        "prompt_tokens": (">i4", np.concatenate([b.prompt_tokens for b in batches])),
        "output_tokens": (">i4", np.concatenate([b.output_tokens for b in batches])),
    }
    answers = Answers.of(batches)
    if answers is not None:
        columns |= {name: (form, getattr(answers, name)) for name, form in _ANSWER.items()}
    stream = render(columns)
    into = SQL["copy_log" if answers is None else "copy_answered"]
    with connection.cursor() as cursor, cursor.copy(into) as copy:
        for begin in range(0, len(stream), _COPY_PIECE_BYTES):
            copy.write(stream[begin : begin + _COPY_PIECE_BYTES])
    add_demand(connection, ids, batches)


def add_demand(
    connection: Connection, ids: Mapping[str, int], batches: Sequence[RequestBatch]
) -> None:
    """Merge the batches into the demand of their services.

    Raises
    ------
    DataError
        For requests that another source has counted.
    """
    refuse_metered(connection, ids, batches)
    changes: dict[int, SlotSums] = {}
    arrivals: dict[int, list[FloatArray]] = {}
    for batch in batches:
        number = ids[batch.service]
        changes[number] = merge(changes.get(number, empty_sums()), bin_requests(batch))
        arrivals.setdefault(number, []).append(batch.arrival_s)
    lock_services(connection, changes)
    change_slots(connection, changes, merge)
    count_requests(connection, [_counted(number, parts) for number, parts in arrivals.items()])


def _counted(number: int, arrivals: Sequence[FloatArray]) -> Counted:
    arrival_s = np.concatenate(arrivals)
    return Counted(number, arrival_s.size, float(arrival_s.min()), float(arrival_s.max()))


def take_back(connection: Connection, number: int, row: RequestBatch) -> None:
    """Undo one row: the last line of a log has grown since it was read."""
    arrival_s = float(row.arrival_s[0])
    lock_services(connection, [number])
    connection.execute(
        SQL["take_back"],
        {
            "service_id": number,
            "arrival_s": arrival_s,
            "prompt_tokens": int(row.prompt_tokens[0]),
            "output_tokens": int(row.output_tokens[0]),
        },
    )
    change_slots(connection, {number: bin_requests(row)}, subtract)
    count_requests(connection, [Counted(number, -1, arrival_s, arrival_s)])


def add_days(connection: Connection, arrival_s: FloatArray) -> None:
    """Make the partitions of the days of these arrivals."""
    days = np.unique(np.floor(arrival_s / _DAY_S).astype(np.int64))
    epoch = date(1970, 1, 1)
    connection.execute(SQL["add_days"], {"days": [epoch + timedelta(int(day)) for day in days]})


def request_rows(connection: Connection, service: str, bounds: Mapping[str, Any]) -> RequestBatch:
    """Requests that arrived in the range, in order."""
    formats = {"arrival": ">i8", "prompt_tokens": ">i4", "output_tokens": ">i4", **_ANSWER}
    table = _copied(connection, "rows", bounds, formats)
    return RequestBatch(
        service,
        epoch_seconds(table["arrival"]),
        native(table["prompt_tokens"], np.int64),
        native(table["output_tokens"], np.int64),
        _answers(table),
    )


def lengths(
    connection: Connection, number: int, days: float, most: int
) -> tuple[IntArray, IntArray]:
    """Prompt and output tokens of the service's newest `days`, every k-th so that `most` remain."""
    bounds = {"service_id": number, "days": days, "most": most}
    formats = {"prompt_tokens": ">i4", "output_tokens": ">i4"}
    table = _copied(connection, "lengths", bounds, formats)
    return native(table["prompt_tokens"], np.int64), native(table["output_tokens"], np.int64)


def served(connection: Connection, bounds: Mapping[str, Any], *, logged: bool) -> Served:
    """What became of the requests of the range, in order of arrival, where that is known.

    Parameters
    ----------
    logged : bool
        Only of those whose log tells how long they took.
    """
    formats = {"arrival": ">i8", **_ANSWER, "ours": ">i2"}
    table = _copied(connection, "logged" if logged else "served", bounds, formats)
    return Served(epoch_seconds(table["arrival"]), _answers(table), table["ours"] != 0)


def _answers(table: npt.NDArray[np.void]) -> Answers:
    ttft_s, tpot_s, latency_s = (native(table[name], np.float64) for name in _TIMES)
    return Answers(ttft_s, tpot_s, latency_s, native(table["status"], np.int64))


def _copied(
    connection: Connection, name: str, bounds: Mapping[str, Any], formats: Mapping[str, str]
) -> npt.NDArray[np.void]:
    stream = bytearray()
    with connection.cursor() as cursor, cursor.copy(SQL[name], bounds) as copy:
        for piece in copy:
            stream += piece
    return parse(stream, formats)
