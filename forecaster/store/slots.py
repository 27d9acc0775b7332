"""Demand slots: merged exactly, read as arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.ma  # np.unique imports it when first called: not inside a transaction
import numpy.typing as npt

from forecaster.demand import empty_sums
from forecaster.domain.demand import SLOT_S, IntArray, SlotSums
from forecaster.store.days import forget_days
from forecaster.store.pgcopy import epoch_seconds, microseconds, parse, render
from forecaster.store.pool import Connection
from forecaster.store.queries import queries
from forecaster.store.rows import native

_SQL = queries("slots")

ALL_TIME_S = (-2_208_988_800.0, 253_402_300_800.0)
"""1900 to 9999: the range when none is asked for, epoch seconds."""

_FORMATS = {
    "start": ">i8",
    "arrivals": ">i8",
    "prompt_tokens": ">i8",
    "output_tokens": ">i8",
    "prompt_output": ">f8",
    "prompt_sq": ">f8",
    "output_sq": ">f8",
    "counts_1s": f"V{2 * SLOT_S}",
}


def read_slots(
    connection: Connection, number: int, from_s: float | None, to_s: float | None
) -> SlotSums:
    """Slots that start in ``[from_s, to_s)``, epoch seconds; None means all."""
    bounds = {
        "service_id": number,
        "from_s": ALL_TIME_S[0] if from_s is None else from_s,
        "to_s": ALL_TIME_S[1] if to_s is None else to_s,
    }
    table = _copied(connection, "read", bounds, _FORMATS)
    counts = np.ascontiguousarray(table["counts_1s"]).view("<u2").reshape(-1, SLOT_S)
    return SlotSums(
        start_s=np.rint(epoch_seconds(table["start"])).astype(np.int64),
        arrivals=native(table["arrivals"], np.int64),
        prompt_tokens=native(table["prompt_tokens"], np.int64),
        output_tokens=native(table["output_tokens"], np.int64),
        prompt_output=native(table["prompt_output"], np.float64),
        prompt_sq=native(table["prompt_sq"], np.float64),
        output_sq=native(table["output_sq"], np.float64),
        counts_1s=counts.astype(np.uint16),
    )


def change_slots(
    connection: Connection,
    number: int,
    change: SlotSums,
    combine: Callable[[SlotSums, SlotSums], SlotSums],
) -> None:
    """Replace the slots that `change` touches by ``combine(stored, change)``.

    The caller holds the service's lock, so nobody else reads what is taken out here.
    """
    if not change.start_s.size:
        return
    bounds = {
        "service_id": number,
        "from_s": float(change.start_s[0]),
        "to_s": float(change.start_s[-1] + 1),
    }
    forget_days(connection, number, bounds["from_s"], bounds["to_s"])
    stored = epoch_seconds(_copied(connection, "starts", bounds, {"start": ">i8"})["start"])
    touched = np.intersect1d(np.rint(stored).astype(np.int64), change.start_s)
    taken = _taken(connection, number, touched) if touched.size else empty_sums()
    _put(connection, number, combine(taken, change))


def drop_slots(connection: Connection, number: int, starts: IntArray) -> int:
    """Remove slots; return the arrivals that they held. The caller holds the service's lock."""
    if not starts.size:
        return 0
    forget_days(connection, number, float(starts[0]), float(starts[-1] + 1))
    gone = connection.execute(_SQL["take"], {"service_id": number, "starts": starts.tolist()})
    return sum(int(row[1]) for row in gone.fetchall())


def _taken(connection: Connection, number: int, starts: IntArray) -> SlotSums:
    """Remove slots and return what they held."""
    rows = connection.execute(
        _SQL["take"], {"service_id": number, "starts": starts.tolist()}, binary=True
    ).fetchall()
    return sums_of(sorted(rows))


def _copied(
    connection: Connection, name: str, bounds: Mapping[str, Any], formats: Mapping[str, str]
) -> npt.NDArray[np.void]:
    stream = bytearray()
    with connection.cursor() as cursor, cursor.copy(_SQL[name], bounds) as copy:
        for piece in copy:
            stream += piece
    return parse(stream, formats)


def _put(connection: Connection, number: int, slots: SlotSums) -> None:
    counts = np.ascontiguousarray(slots.counts_1s.astype("<u2")).view(_FORMATS["counts_1s"])
    columns: dict[str, tuple[str, Any]] = {
        "service_id": (">i4", np.full(slots.start_s.size, number)),
        "start": (">i8", microseconds(slots.start_s.astype(np.float64))),
        "counts_1s": (_FORMATS["counts_1s"], counts.reshape(-1)),
    }
    for name in ("arrivals", "prompt_tokens", "output_tokens"):
        columns[name] = (">i8", getattr(slots, name))
    for name in ("prompt_output", "prompt_sq", "output_sq"):
        columns[name] = (">f8", getattr(slots, name))
    order = ("service_id", *_FORMATS)
    with connection.cursor() as cursor, cursor.copy(_SQL["put"]) as copy:
        copy.write(render({name: columns[name] for name in order}))


def sums_of(rows: list[tuple[Any, ...]]) -> SlotSums:
    """Slots from rows of their columns, in their order."""
    start, arrivals, prompt, output, prompt_output, prompt_sq, output_sq, counts = zip(
        *rows, strict=True
    )
    return SlotSums(
        start_s=np.array(start, np.int64),
        arrivals=np.array(arrivals, np.int64),
        prompt_tokens=np.array(prompt, np.int64),
        output_tokens=np.array(output, np.int64),
        prompt_output=np.array(prompt_output, np.float64),
        prompt_sq=np.array(prompt_sq, np.float64),
        output_sq=np.array(output_sq, np.float64),
        counts_1s=np.frombuffer(b"".join(counts), "<u2").reshape(-1, SLOT_S).astype(np.uint16),
    )
