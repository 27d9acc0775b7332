"""A database that is away is not waited for by everyone who asks: one looks, the others hear at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from forecaster.domain.errors import StoreUnavailableError
from forecaster.store.answering import KNOCK_S
from forecaster.store.translation import translated_errors

REST = 2.0
"""After a look that was not answered the next one waits for this many times what it took."""


class Absence:
    """Whether the database is away, and what it said.

    Parameters
    ----------
    dsn : str
        Where to look for it.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._said: StoreUnavailableError | None = None
        self._looking = threading.Lock()
        self._rest_until_s = 0.0

    def refuse(self) -> None:
        """Return where there is a database, as far as is known; one caller at a time looks again.

        Raises
        ------
        StoreUnavailableError
            What was said the last time, while it is away still.
        """
        said = self._said
        if said is None:
            return
        if time.monotonic() < self._rest_until_s or not self._looking.acquire(blocking=False):
            raise StoreUnavailableError(said.problem, said.remedy)
        began_s = time.monotonic()
        try:
            with translated_errors():
                psycopg.connect(self._dsn, connect_timeout=KNOCK_S, autocommit=True).close()
        except StoreUnavailableError as error:
            now_s = time.monotonic()
            self._rest_until_s = now_s + REST * (now_s - began_s)
            self._said = error
            raise
        finally:
            self._looking.release()
        self._said = None

    @contextmanager
    def noticed(self) -> Iterator[None]:
        """Remember that the database is away, where that is what comes of it."""
        try:
            yield
        except StoreUnavailableError as error:
            cause = error.__cause__
            if isinstance(cause, psycopg.Error) and cause.sqlstate is None:
                self._said = error
            raise
