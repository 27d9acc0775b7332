"""Demand slots: merged exactly, read as arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import groupby
from operator import itemgetter
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
    changes: Mapping[int, SlotSums],
    combine: Callable[[SlotSums, SlotSums], SlotSums],
) -> None:
    """Replace the slots that each service's change touches by ``combine(stored, change)``.

    The caller holds the locks of the services, so nobody else reads what is taken out here.
    """
    changes = {number: change for number, change in changes.items() if change.start_s.size}
    if not changes:
        return
    ranges = {
        number: (float(change.start_s[0]), float(change.start_s[-1] + 1))
        for number, change in changes.items()
    }
    forget_days(connection, ranges)
    from_s, to_s = zip(*ranges.values(), strict=True)
    bounds = {"service_ids": list(ranges), "from_s": list(from_s), "to_s": list(to_s)}
    stored = _copied(connection, "starts", bounds, {"service_id": ">i4", "start": ">i8"})
    numbers = native(stored["service_id"], np.int64)
    starts = np.rint(epoch_seconds(stored["start"])).astype(np.int64)
    taken = _taken(
        connection,
        {
            number: np.intersect1d(starts[numbers == number], change.start_s)
            for number, change in changes.items()
        },
    )
    _put(
        connection,
        {
            number: combine(taken.get(number, empty_sums()), change)
            for number, change in changes.items()
        },
    )


def drop_slots(connection: Connection, number: int, starts: IntArray) -> int:
    """Remove slots; return the arrivals that they held. The caller holds the service's lock."""
    if not starts.size:
        return 0
    forget_days(connection, {number: (float(starts[0]), float(starts[-1] + 1))})
    taken = _taken(connection, {number: starts})
    return sum(int(each.arrivals.sum()) for each in taken.values())


def _taken(connection: Connection, starts: Mapping[int, IntArray]) -> dict[int, SlotSums]:
    """Remove slots and return what they held, by service."""
    values = {
        "service_ids": np.repeat(list(starts), [each.size for each in starts.values()]).tolist(),
        "starts": np.concatenate(list(starts.values())).tolist(),
    }
    if not values["starts"]:
        return {}
    rows = connection.execute(_SQL["take"], values, binary=True).fetchall()
    return {
        number: sums_of([row[1:] for row in of_one])
        for number, of_one in groupby(sorted(rows), key=itemgetter(0))
    }


def _copied(
    connection: Connection, name: str, bounds: Mapping[str, Any], formats: Mapping[str, str]
) -> npt.NDArray[np.void]:
    stream = bytearray()
    with connection.cursor() as cursor, cursor.copy(_SQL[name], bounds) as copy:
        for piece in copy:
            stream += piece
    return parse(stream, formats)


def _put(connection: Connection, slots: Mapping[int, SlotSums]) -> None:
    def column(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(each, name) for each in slots.values()])

    start_s = column("start_s")
    counts = np.ascontiguousarray(column("counts_1s").astype("<u2")).view(_FORMATS["counts_1s"])
    sizes = [each.start_s.size for each in slots.values()]
    columns: dict[str, tuple[str, Any]] = {
        "service_id": (">i4", np.repeat(list(slots), sizes)),
        "start": (">i8", microseconds(start_s.astype(np.float64))),
        "counts_1s": (_FORMATS["counts_1s"], counts.reshape(-1)),
    }
    for name in ("arrivals", "prompt_tokens", "output_tokens"):
        columns[name] = (">i8", column(name))
    for name in ("prompt_output", "prompt_sq", "output_sq"):
        columns[name] = (">f8", column(name))
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
