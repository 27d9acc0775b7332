"""Connections with a bounded wait."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import psycopg
from psycopg.types.json import set_json_loads
from psycopg_pool import ConnectionPool, PoolTimeout

from forecaster.store.absence import Absence
from forecaster.store.answering import AnsweringConnection
from forecaster.store.translation import translated_errors

Connection = AnsweringConnection

_CONNECTIONS_MOST = 8
_WAIT_S = 5.0
_CONNECT_TIMEOUT_S = 5
_ARGUMENTS: dict[str, Any] = {
    "autocommit": True,
    "connect_timeout": _CONNECT_TIMEOUT_S,
    "application_name": "tidegate",
}


class Pool:
    """At most eight connections; whoever waits longer than five seconds for one is told so.

    Raises
    ------
    StoreUnavailableError
        When the database cannot be reached.
    """

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        # It reports every attempt; whoever asks for a connection is told once, by an error.
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
        with translated_errors():
            # A connection of our own first: its error says what is wrong, the pool's says "timeout".
            psycopg.connect(dsn, **_ARGUMENTS).close()
            self._absence = Absence(dsn)
            self._pool: ConnectionPool[Connection] = ConnectionPool(
                dsn,
                connection_class=AnsweringConnection,
                min_size=1,
                max_size=_CONNECTIONS_MOST,
                timeout=_WAIT_S,
                reconnect_timeout=_WAIT_S,
                kwargs=_ARGUMENTS,
                configure=_configured,
                check=ConnectionPool.check_connection,
                open=True,
                name="tidegate",
            )
            self._pool.wait(
                _WAIT_S
            )  # whoever opens a store pays for its connection, not the first query

    @contextmanager
    def transaction(self, durable: bool = True) -> Iterator[Connection]:
        """Lend a connection inside one transaction: committed at the end, undone by any error.

        What is not `durable` is seen at once as well, but does not wait for the disk: a crash of the server within the
        next second may take it. Whatever is durable takes all before it to the disk.
        """
        self._absence.refuse()
        with (
            self._absence.noticed(), translated_errors(),
            self._borrowed() as connection, connection.transaction(),
        ):  # fmt: skip
            if not durable:
                connection.execute("set local synchronous_commit to off")
            yield connection

    @contextmanager
    def _borrowed(self) -> Iterator[Connection]:
        try:
            connection = self._pool.getconn()
        except PoolTimeout:
            psycopg.connect(self.dsn, **_ARGUMENTS).close()  # says why, where the pool cannot
            raise
        try:
            yield connection
        finally:
            self._pool.putconn(connection)

    def close(self) -> None:
        """Close every connection."""
        self._pool.close(timeout=_WAIT_S)


def _configured(connection: Connection) -> None:
    """Read JSON with the library that writes it: plans and journal entries are long, and read many at a time."""
    set_json_loads(orjson.loads, connection)
