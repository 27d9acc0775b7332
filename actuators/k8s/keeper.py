"""The book in the cluster: read, changed and written under its resource version."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from actuators.book import Book, dumps, fenced, loads, new_book
from actuators.k8s.api import ConflictError, KubeApi
from forecaster.domain.errors import ActuatorError


class BookKeeper:
    """Keeps the book of units in its ConfigMap."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    def read(self) -> Book:
        """The book as it stands; an empty one before the first word.

        Raises
        ------
        ActuatorError
            When there is no ConfigMap, or somebody else wrote in it.
        """
        return self._read()[0]

    def change(self, change: Callable[[Book], Book]) -> Book:
        """Read, change and write; once more where another daemon wrote it meanwhile.

        Raises
        ------
        ConflictError
            When that happened twice.
        """
        try:
            return self._change(change)
        except ConflictError:
            return self._change(change)

    def pass_leader(self, number: int) -> None:
        """Write down who leads.

        Raises
        ------
        FencedError
            When a later one was here.
        """
        self.change(lambda book: fenced(book, number))

    def _change(self, change: Callable[[Book], Book]) -> Book:
        book, kept = self._read()
        changed = change(book if book.tier else new_book())
        if changed != book:
            self._api.write_book(kept, dumps(changed))
        return changed

    def _read(self) -> tuple[Book, Mapping[str, object]]:
        kept = self._api.read_book()
        text = (kept.get("data") or {}).get("book", "")
        try:
            return (loads(text) if text else Book()), kept
        except ValueError as error:
            raise ActuatorError(
                f"the book of units cannot be read: {error}", "delete the ConfigMap's key `book`"
            ) from error
