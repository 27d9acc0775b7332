"""Pages of what happened: whatever was written down when, each entry is shown once and in its order."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from forecaster.daemon.activity import activity
from forecaster.store.activity import Deed, Happening

TIMES = st.lists(st.integers(0, 20), max_size=12)


class Book:
    """The store's lists, in memory."""

    def __init__(self, at_s: dict[Deed, list[int]]) -> None:
        self.rows = {
            deed: [
                Happening(deed, i, float(t), "chat", "", "", None) for i, t in enumerate(times, 1)
            ]
            for deed, times in at_s.items()
        }

    def page(
        self, deed: Deed, _service: str, limit: int, before_id: int | None
    ) -> Sequence[Happening]:
        below = [row for row in self.rows[deed] if before_id is None or row.number < before_id]
        return list(reversed(below))[:limit]

    def write(self, deed: Deed, at_s: float) -> None:
        self.rows[deed].append(
            Happening(deed, len(self.rows[deed]) + 1, at_s, "chat", "", "", None)
        )


def read(book: Any, limit: int, between: Any = lambda: None) -> list[dict[str, Any]]:
    store: Any = SimpleNamespace(activity=book)
    found, before = [], ""
    while True:
        page = activity(store, "", (), limit, before)
        assert len(page["entries"]) <= limit
        found += page["entries"]
        if page["before"] is None:
            return found
        assert len(page["entries"]) == limit
        before = page["before"]
        between()


@given(st.fixed_dictionaries(dict.fromkeys(Deed, TIMES)), st.integers(1, 5))
def test_every_entry_once(at_s: dict[Deed, list[int]], limit: int) -> None:
    book = Book(at_s)
    found = read(book, limit)
    for deed in Deed:
        mine = [each["number"] for each in found if each["kind"] == deed.value]
        assert mine == list(range(len(at_s[deed]), 0, -1))
    if all(times == sorted(times) for times in at_s.values()):
        assert [each["at_s"] for each in found] == sorted((e["at_s"] for e in found), reverse=True)


@given(st.fixed_dictionaries(dict.fromkeys(Deed, TIMES)), st.integers(1, 5))
def test_what_is_written_meanwhile_is_on_no_later_page(
    at_s: dict[Deed, list[int]], limit: int
) -> None:
    quiet = read(Book(at_s), limit)
    book = Book(at_s)
    assert read(book, limit, lambda: [book.write(deed, 99.0) for deed in Deed]) == quiet
