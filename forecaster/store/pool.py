"""Connections with a bounded wait, and the one place where database errors are translated."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from forecaster.domain.errors import StoreError, StoreUnavailableError

Connection = psycopg.Connection[tuple[Any, ...]]

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
            self._pool: ConnectionPool[Connection] = ConnectionPool(
                dsn,
                min_size=1,
                max_size=_CONNECTIONS_MOST,
                timeout=_WAIT_S,
                reconnect_timeout=_WAIT_S,
                kwargs=_ARGUMENTS,
                check=ConnectionPool.check_connection,
                open=True,
                name="tidegate",
            )
            self._pool.wait(
                _WAIT_S
            )  # whoever opens a store pays for its connection, not the first query

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Lend a connection inside one transaction: committed at the end, undone by any error."""
        with translated_errors(), self._borrowed() as connection, connection.transaction():
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


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn what psycopg raises into what the caller can act upon."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StoreUnavailableError(
            f"the database is away: {_first_line(error)}",
            "nothing was lost: start PostgreSQL or correct TIDEGATE_DSN, then repeat",
        ) from error
    except psycopg.Error as error:
        raise StoreError(
            f"the database refused: {_first_line(error)}",
            "this is a defect or a foreign schema: run `tidegate doctor`",
        ) from error


def _first_line(error: psycopg.Error) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
