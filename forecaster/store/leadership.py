"""Leadership: one daemon of many orders units, elected by an advisory lock, fenced by a number."""

from __future__ import annotations

import logging
import threading
from typing import Any

import psycopg

from forecaster.store.answering import AnsweringConnection
from forecaster.store.queries import queries

log = logging.getLogger(__name__)
_SQL = queries("leader")
LEASE_S = 8.0
"""A leader that has not beaten for so long, on the database's clock, may be replaced."""
TIMEOUT_S = 3


class Leadership:
    """One daemon's candidacy, on a connection of its own.

    Parameters
    ----------
    dsn : str
        The database that elects.
    holder : str
        Who this is, for people.

    Attributes
    ----------
    number : int or None
        The number of this leadership, rising with every change; None while another one leads.
    leader : str
        Who led when it was last asked.
    """

    def __init__(self, dsn: str, holder: str) -> None:
        self.dsn, self.holder = dsn, holder
        self.number: int | None = None
        self.leader = ""
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._turn = threading.Lock()

    def hold(self) -> int | None:
        """Lead, or go on leading; the number, or None while another one leads.

        While the database is away nobody can be elected: whoever led goes on, and the tier's fence
        keeps order should a new one have been elected where this one cannot see it.
        """
        with self._turn:
            for _ in range(2):  # a session that was ended is not a database that is away
                try:
                    self.number = self._beat() if self.number is not None else self._stand()
                    break
                except psycopg.Error:
                    self._drop()
            return self.number

    def close(self) -> None:
        """Give leadership back at once."""
        with self._turn:
            self.number = None
            self._drop()

    def _beat(self) -> int | None:
        assert self.number is not None
        if self._connection is None:  # the database was away: the lock went with the session
            connection = self._connected()
            if not _one(connection, "try_lock"):
                found = _one(connection, "beat", {"number": self.number})
                if found is None:
                    self._see(connection)
                    return None
                self._drop()  # our own session of before holds it: the server has not missed us yet
                return int(found)
        found = _one(self._connected(), "beat", {"number": self.number})
        if found is None:
            log.warning("another daemon led meanwhile: this one steps back")
            self._drop()
            return None
        return int(found)

    def _stand(self) -> int | None:
        connection = self._connected()
        if not _one(connection, "try_lock"):
            _one(connection, "end_late", {"lease_s": LEASE_S})
            if not _one(connection, "try_lock"):
                self._see(connection)
                return None
        number = int(_one(connection, "lead", {"holder": self.holder}))
        self.leader = self.holder
        return number

    def _see(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self.leader = str(_one(connection, "who"))

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = AnsweringConnection.connect(
                self.dsn, autocommit=True, connect_timeout=TIMEOUT_S,
                options=f"-c statement_timeout={TIMEOUT_S}s -c lock_timeout={TIMEOUT_S}s",
                application_name="tidegate-leader",
            )  # fmt: skip
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _one(
    connection: psycopg.Connection[tuple[Any, ...]], name: str, row: dict[str, Any] | None = None
) -> Any:
    found = connection.execute(_SQL[name], row).fetchone()
    return None if found is None else found[0]
