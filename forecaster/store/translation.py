"""The one place where what the database says becomes what the caller can act upon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from forecaster.domain.errors import StoreError, StoreUnavailableError

_READ_ONLY = "Read-only file system"
"""PostgreSQL speaks C here, and calls it a lack of privilege."""


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn what psycopg raises into what the caller can act upon."""
    try:
        yield
    except psycopg.errors.DiskFull as error:
        raise StoreUnavailableError(
            f"the database's disk is full: {_first_line(error)}",
            "free some of it: nothing was lost, what waits is written then",
        ) from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StoreUnavailableError(
            f"the database is away: {_first_line(error)}",
            "nothing was lost: start PostgreSQL or correct TIDEGATE_DSN, then repeat",
        ) from error
    except psycopg.Error as error:
        if _READ_ONLY in str(error):
            raise StoreUnavailableError(
                f"the database's disk is read-only: {_first_line(error)}",
                "make it writable: nothing was lost, what waits is written then",
            ) from error
        raise StoreError(
            f"the database refused: {_first_line(error)}",
            "this is a defect or a foreign schema: run `tidegate doctor`",
        ) from error


def _first_line(error: psycopg.Error) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
