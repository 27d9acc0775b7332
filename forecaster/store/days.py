"""Whole days of demand on the grid of a season: summed once, forgotten when they change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from forecaster.domain.demand import FloatArray, IntArray
from forecaster.store.pool import Connection
from forecaster.store.queries import queries

_SQL = queries("day")
DAY_S = 86_400
WEIGHTS = 5
"""Sums beside the count of a slot that is weighed."""
_COUNT_MOST = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Days:
    """Slots of whole days in a row.

    Attributes
    ----------
    start_s : int
        Midnight of the first, epoch seconds.
    until_s : int
        Where the last one ends.
    counts : int64[days x slots]
        Requests.
    weights : float64[days x slots, 5]
        The other sums; of width 0 where they were not asked for.
    """

    start_s: int
    until_s: int
    counts: IntArray
    weights: FloatArray


def held(connection: Connection, numbers: Iterable[int]) -> set[int]:
    """Services whose demand nobody changes before this transaction ends: what is read of them may be kept."""
    rows = connection.execute(_SQL["hold"], {"service_ids": list(numbers)})
    return {int(row[0]) for row in rows}


def read_days(
    connection: Connection, from_s: Mapping[int, float], to_s: float, slot_s: float, weighed: bool
) -> dict[int, Days]:
    """Kept days of services in a row from `from_s` (midnights by service number) on, before `to_s`."""
    asked = {
        "service_ids": list(from_s), "from_s": list(from_s.values()), "to_s": to_s - DAY_S + 1,
        "slot_s": int(slot_s), "weighed": weighed,
    }  # fmt: skip
    slots, width = round(DAY_S / slot_s), WEIGHTS if weighed else 0
    row_bytes = slots * (4 + 8 * width)
    found = {}
    for number, starts, sums in connection.execute(_SQL["read"], asked, binary=True):
        first = int(from_s[number])
        days = _in_a_row(np.asarray(starts, dtype=np.int64), first)
        table = np.frombuffer(sums, np.uint8).reshape(-1, row_bytes)[:days]
        counts = np.ascontiguousarray(table[:, : 4 * slots]).view("<u4").astype(np.int64)
        weights = np.ascontiguousarray(table[:, 4 * slots :]).view("<f8")
        by_slot = weights.reshape(days, width, slots).transpose(0, 2, 1)
        found[number] = Days(
            first, first + days * DAY_S, counts.reshape(-1), by_slot.reshape(days * slots, width)
        )
    return found


def keep_days(
    connection: Connection, days: Mapping[int, Days], slot_s: float, from_s: Mapping[int, float]
) -> None:
    """Keep days of services that are `held`; those long before `from_s` go."""
    slots = round(DAY_S / slot_s)
    numbers: list[int] = []
    starts: list[float] = []
    sums: list[bytes] = []
    for number, each in days.items():
        if each.counts.max(initial=0) > _COUNT_MOST:
            continue
        for at in range(0, each.counts.size, slots):
            part = slice(at, at + slots)
            numbers.append(number)
            starts.append(each.start_s + at * slot_s)
            weights = each.weights[part].T.astype("<f8").tobytes()
            sums.append(each.counts[part].astype("<u4").tobytes() + weights)
    if numbers:
        weighed = any(each.weights.shape[1] for each in days.values())
        row = {
            "service_id": numbers, "start_s": starts, "sums": sums, "slot_s": int(slot_s),
            "weighed": weighed,
        }  # fmt: skip
        connection.execute(_SQL["add"], row, binary=True)
        old = {"service_ids": list(days), "from_s": [from_s[number] for number in days]}
        connection.execute(_SQL["prune"], old)


def forget_days(connection: Connection, ranges: Mapping[int, tuple[float, float]]) -> None:
    """Demand of ``[from_s, to_s)`` of services changes: what was summed of these days is so no more."""
    from_s, to_s = zip(*ranges.values(), strict=True)
    values = {"service_ids": list(ranges), "from_s": list(from_s), "to_s": list(to_s)}
    connection.execute(_SQL["forget"], values)


def _in_a_row(starts: IntArray, first: int) -> int:
    """How many days follow one another from the first on."""
    gone = starts != first + DAY_S * np.arange(starts.size)
    return int(np.argmax(gone)) if gone.any() else int(starts.size)
