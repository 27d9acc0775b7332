"""One page of what happened: lists that each have their own numbers, merged by time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from forecaster.domain.errors import SettingError
from forecaster.store import Store
from forecaster.store.activity import Deed, Happening

_CURSOR = re.compile(r"[0-9]{1,18}(-[0-9]{1,18}){2}")
Lists = Mapping[Deed, Sequence[Happening]]


def activity(
    store: Store, service: str, deeds: Sequence[Deed], limit: int, before: str
) -> dict[str, Any]:
    """At most `limit` entries before a cursor, newest first, and the cursor of the next page.

    Raises
    ------
    SettingError
        For a cursor that no page gave.
    """
    below = _read(before)
    wanted = deeds or tuple(Deed)
    lists = {
        deed: store.activity.page(deed, service, limit + 1, below.get(deed)) for deed in wanted
    }
    entries = merged(lists, limit)
    more = sum(map(len, lists.values())) > len(entries)
    return {
        "entries": [{"kind": each.deed.value, **_line(each)} for each in entries],
        "before": _write(below | _ends(lists, entries)) if more else None,
    }


def _ends(lists: Lists, entries: Sequence[Happening]) -> dict[Deed, int]:
    """Where each list goes on; what is written down later belongs to no later page."""
    heads = {deed: each[0].number + 1 if each else 1 for deed, each in lists.items()}
    return heads | {each.deed: each.number for each in entries}


def merged(lists: Lists, limit: int) -> list[Happening]:
    """The newest `limit` of several lists, each of which keeps its own order.

    Taking from the heads alone, a page ends in every list at a number: the next one goes on below it,
    so nothing is said twice or left out, also where something was written down late.

    Examples
    --------
    >>> said = lambda deed, number, at_s: Happening(deed, number, at_s, "chat", "", "", None)
    >>> orders = [said(Deed.ORDER, 9, 30.0), said(Deed.ORDER, 8, 10.0)]
    >>> [each.number for each in merged({Deed.ORDER: orders, Deed.ALERT: [said(Deed.ALERT, 1, 20.0)]}, 2)]
    [9, 1]
    """
    queues = [list(reversed(each)) for each in lists.values() if each]
    found: list[Happening] = []
    while queues and len(found) < limit:
        newest = max(queues, key=lambda queue: queue[-1].at_s)
        found.append(newest.pop())
        queues = [queue for queue in queues if queue]
    return found


def _line(entry: Happening) -> dict[str, Any]:
    values = asdict(entry)
    del values["deed"]
    return values


def _write(below: Mapping[Deed, int]) -> str:
    return "-".join(str(below.get(deed, 0)) for deed in Deed)


def _read(before: str) -> dict[Deed, int]:
    """The numbers that a cursor names; 0 stands for a list that was not asked for."""
    if not before:
        return {}
    if not _CURSOR.fullmatch(before):
        raise SettingError("before", before, "the cursor of the page before", "leave it out")
    numbers = zip(Deed, map(int, before.split("-")), strict=True)
    return {deed: number for deed, number in numbers if number}
