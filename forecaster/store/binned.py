"""Demand as training needs it: of many services at once, summed over the slots of the season."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from forecaster.demand import empty_sums
from forecaster.domain.demand import SLOT_S, SlotSums
from forecaster.store.days import DAY_S, WEIGHTS, Days, held, keep_days, read_days
from forecaster.store.pgcopy import epoch_seconds
from forecaster.store.pool import Connection
from forecaster.store.queries import queries
from forecaster.store.slots import sums_of

_SQL = queries("slots")
_COLUMNS = {
    "arrivals": ">i8",
    "prompt_tokens": ">i8",
    "output_tokens": ">i8",
    "prompt_output": ">f8",
    "prompt_sq": ">f8",
    "output_sq": ">f8",
}
"""What is read of a slot beside its start; without weights only the first."""
_WEIGHTS = tuple(_COLUMNS)[1:]


def read_binned(
    connection: Connection, from_s: Mapping[int, float], to_s: float, slot_s: float, weighed: bool
) -> Iterator[tuple[int, SlotSums]]:
    """Slots of services that start in ``[from_s, to_s)``, summed over `slot_s`; by the minute in the first and last.

    The minutes at the edges say where the log begins and ends; between them there are no counts per
    second: an eighth of the bytes. Whole days are summed once and kept.

    Parameters
    ----------
    from_s : mapping of int to float
        By service number, epoch seconds: midnights.
    weighed : bool
        With the sums of tokens, which say what requests weigh.
    """
    daily = DAY_S % slot_s == 0
    still = held(connection, from_s) if daily else set()
    past = read_days(connection, from_s, to_s, slot_s, weighed) if daily else {}
    begins = {n: float(past[n].until_s) if n in past else each for n, each in from_s.items()}
    asked = {
        "service_ids": list(begins), "from_s": list(begins.values()), "to_s": to_s, "slot_s": slot_s,
    }  # fmt: skip
    name = "binned" if weighed else "counted"
    rows = connection.execute(_SQL[name], asked, binary=True).fetchall()
    fresh = {row[0]: _middle(row[1:]) for row in rows if row[1] is not None}
    whole = {n: _whole_days(fresh[n], int(begins[n]), slot_s, weighed) for n in still & set(fresh)}
    keep_days(connection, whole, slot_s, from_s)
    middles = {n: _after(past[n], fresh.get(n), slot_s) for n in past} | {
        n: each for n, each in fresh.items() if n not in past
    }
    middles = {n: each for n, each in middles.items() if each.start_s.size}
    edges = _edges(connection, middles, to_s, slot_s)
    for number in from_s:
        found = number in middles
        yield number, _between(edges[number], middles[number]) if found else empty_sums()


def _whole_days(fresh: SlotSums, begin_s: int, slot_s: float, weighed: bool) -> Days:
    """The days before that of the last slot, from a midnight on."""
    days = max((int(fresh.start_s[-1]) - begin_s) // DAY_S, 0)
    slots = days * round(DAY_S / slot_s)
    inside = (fresh.start_s - begin_s) // int(slot_s)
    seen = inside < slots
    counts = np.zeros(slots, np.int64)
    counts[inside[seen]] = fresh.arrivals[seen]
    weights = np.zeros((slots, WEIGHTS if weighed else 0))
    for column, name in zip(range(weights.shape[1]), _WEIGHTS, strict=False):
        weights[inside[seen], column] = getattr(fresh, name)[seen]
    return Days(begin_s, begin_s + days * DAY_S, counts, weights)


def _after(past: Days, fresh: SlotSums | None, slot_s: float) -> SlotSums:
    """Kept days, and the slots after them."""
    at = np.flatnonzero(past.counts)
    values = {"start_s": past.start_s + int(slot_s) * at, "arrivals": past.counts[at]}
    for column, name in enumerate(_WEIGHTS):
        weighed = column < past.weights.shape[1]
        kept = past.weights[at, column] if weighed else np.zeros(at.size)
        values[name] = kept.astype(_COLUMNS[name][1:])
    if fresh is not None:
        values = {
            name: np.concatenate([each, getattr(fresh, name)]) for name, each in values.items()
        }
    return _sums(values)


def _middle(row: tuple[bytes, ...]) -> SlotSums:
    """Whole slots of one service, from its columns."""
    starts = np.rint(epoch_seconds(np.frombuffer(row[0], ">i8"))).astype(np.int64)
    values = {"start_s": starts}
    for name, column in zip_longest(_COLUMNS, row[1:]):
        kind = _COLUMNS[name]
        found = np.zeros(starts.size) if column is None else np.frombuffer(column, kind)
        values[name] = found.astype(kind[1:])
    return _sums(values)


def _sums(values: dict[str, npt.NDArray[Any]]) -> SlotSums:
    """Slots without counts per second."""
    count = values["start_s"].size
    return SlotSums(
        counts_1s=np.broadcast_to(np.zeros(SLOT_S, np.uint16), (count, SLOT_S)), **values
    )


def _edges(
    connection: Connection, middles: Mapping[int, SlotSums], to_s: float, slot_s: float
) -> dict[int, SlotSums]:
    """The minutes of each service's first slot and last one."""
    of = [
        (number, float(start))
        for number, each in middles.items()
        for start in dict.fromkeys((each.start_s[0], each.start_s[-1]))
    ]
    asked = {
        "service_ids": [number for number, _ in of], "start_s": [start for _, start in of],
        "to_s": to_s, "slot_s": slot_s,
    }  # fmt: skip
    by_service: dict[int, list[tuple[Any, ...]]] = {}
    for row in connection.execute(_SQL["edges"], asked, binary=True):
        by_service.setdefault(row[0], []).append(row[1:])
    return {number: sums_of(rows) for number, rows in by_service.items()}


def _between(edges: SlotSums, middle: SlotSums) -> SlotSums:
    """The minutes of the first slot, the slots between, the minutes of the last."""
    first = int(np.searchsorted(edges.start_s, middle.start_s[-1]))
    if middle.start_s.size < 2:
        return edges
    return SlotSums(
        **{
            name: np.concatenate(
                [
                    getattr(edges, name)[:first],
                    getattr(middle, name)[1:-1],
                    getattr(edges, name)[first:],
                ]
            )
            for name in SlotSums.__dataclass_fields__
        }
    )
