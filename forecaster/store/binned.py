"""Demand as training needs it: of many services at once, summed over the slots of the season."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from forecaster.demand import empty_sums
from forecaster.domain.demand import SLOT_S, SlotSums
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


def read_binned(
    connection: Connection, from_s: Mapping[int, float], to_s: float, slot_s: float, weighed: bool
) -> Iterator[tuple[int, SlotSums]]:
    """Slots of services that start in ``[from_s, to_s)``, summed over `slot_s`; by the minute in the first and last.

    The minutes at the edges say where the log begins and ends; between them there are no counts per
    second: an eighth of the bytes.

    Parameters
    ----------
    from_s : mapping of int to float
        By service number, epoch seconds, a multiple of `slot_s`.
    weighed : bool
        With the sums of tokens, which say what requests weigh.
    """
    asked = {
        "service_ids": list(from_s), "from_s": list(from_s.values()), "to_s": to_s, "slot_s": slot_s,
    }  # fmt: skip
    name = "binned" if weighed else "counted"
    rows = connection.execute(_SQL[name], asked, binary=True).fetchall()
    middles = {row[0]: _middle(row[1:]) for row in rows if row[1] is not None}
    edges = _edges(connection, middles, to_s, slot_s)
    for number in from_s:
        found = number in middles
        yield number, _between(edges[number], middles[number]) if found else empty_sums()


def _middle(row: tuple[bytes, ...]) -> SlotSums:
    """Whole slots of one service, from its columns."""
    starts = epoch_seconds(np.frombuffer(row[0], ">i8"))
    count = starts.size
    columns = dict(zip(_COLUMNS, row[1:], strict=False))
    values: dict[str, Any] = {
        name: np.frombuffer(columns[name], kind).astype(kind[1:])
        if name in columns
        else np.zeros(count, kind[1:])
        for name, kind in _COLUMNS.items()
    }
    return SlotSums(
        start_s=np.rint(starts).astype(np.int64),
        counts_1s=np.broadcast_to(np.zeros(SLOT_S, np.uint16), (count, SLOT_S)),
        **values,
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
