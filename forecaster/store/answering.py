"""A connection that notices when its server is not gone but hangs, and answers nobody."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from psycopg import waiting
from psycopg.conninfo import make_conninfo

SILENT_S = 5.0
"""After so long without a word the server is asked whether it answers anybody."""
KNOCK_S = 3
"""It may take so long to do so, seconds."""

T = TypeVar("T")
Waits = Generator[Any, Any, T]


class AnsweringConnection(psycopg.Connection[tuple[Any, ...]]):
    """Waits for an answer as long as it takes, while the server answers others.

    A timeout of the server's own does not help where the server itself stands still (a paused machine, a disk that
    hangs, a network that drops), and a timeout of ours would end long work that goes on as it should.
    """

    def wait(self, gen: Waits[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Drive `gen` to its end.

        Raises
        ------
        psycopg.OperationalError
            When the server has said nothing for `SILENT_S` and answers a new connection neither.
        """
        return super().wait(self._heard(gen), interval, timeout)

    def _heard(self, gen: Waits[T]) -> Waits[T]:
        try:
            wants = next(gen)
            since_s = time.monotonic()
            while True:
                ready = yield wants
                if ready != waiting.READY_NONE:
                    since_s = time.monotonic()
                elif time.monotonic() - since_s >= SILENT_S:
                    self._knock()
                    since_s = time.monotonic()
                wants = gen.send(ready)
        except StopIteration as end:
            found: T = end.value
            return found

    def _knock(self) -> None:
        """Give up this connection where nobody opens."""
        dsn = make_conninfo("", **self.info.get_parameters(), password=self.info.password or None)
        if not answers(dsn):
            self.pgconn.finish()
            raise psycopg.OperationalError("the server hangs: it answers nobody")


def answers(dsn: str) -> bool:
    """Whether a server says anything to a new connection, be it a refusal."""
    try:
        psycopg.connect(dsn, connect_timeout=KNOCK_S, autocommit=True).close()
    except psycopg.OperationalError as error:
        return error.sqlstate is not None
    return True
