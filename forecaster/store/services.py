"""Services: names, numbers and figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from forecaster.domain.errors import DataError
from forecaster.store.pool import Connection
from forecaster.store.queries import queries
from forecaster.store.rows import ServiceSummary

_SQL = queries("service")


def service_ids(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """Return the number of each service; unknown ones are added."""
    wanted = sorted(set(names))
    known = _known_ids(connection, wanted)
    if len(known) < len(wanted):
        connection.execute(_SQL["add"], {"names": [name for name in wanted if name not in known]})
        known = _known_ids(connection, wanted)
    return known


def ends(connection: Connection, names: Iterable[str]) -> dict[str, tuple[int, float, float]]:
    """Number, first and last arrival, epoch seconds, of those services that have requests."""
    rows = connection.execute(_SQL["ends"], {"names": sorted(set(names))})
    return {name: (number, first_s, last_s) for name, number, first_s, last_s in rows}


def service_id(connection: Connection, name: str) -> int:
    """Return the number of a service that must exist.

    Raises
    ------
    DataError
        With the names that are known.
    """
    known = _known_ids(connection, [name])
    if name in known:
        return known[name]
    raise unknown_service(connection, name)


def unknown_service(connection: Connection, name: str) -> DataError:
    """Return the error that says which services there are."""
    names = [row[0] for row in connection.execute(_SQL["names"])]
    if not names:
        return DataError(f"service {name!r} is unknown: no log was ingested yet", "ingest one")
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return DataError(f"service {name!r} is unknown", f"known: {listed}")


def summaries(connection: Connection) -> list[ServiceSummary]:
    """Every service with requests, by name."""
    return [ServiceSummary(*row) for row in connection.execute(_SQL["summaries"])]


def lock_services(connection: Connection, numbers: Iterable[int]) -> None:
    """Make this transaction the only one that changes the demand of the services."""
    connection.execute(_SQL["lock"], {"service_ids": list(numbers)})


@dataclass(frozen=True, slots=True)
class Counted:
    """What a change did to the figures of a service.

    Attributes
    ----------
    number : int
        Of the service.
    requests : int
        Added; negative where they were taken back.
    first_s, last_s : float or None
        First and last arrival among them, epoch seconds; None: the ends stay.
    """

    number: int
    requests: int
    first_s: float | None = None
    last_s: float | None = None


def count_requests(connection: Connection, counted: Sequence[Counted]) -> None:
    """Bring the figures of services up to date."""
    values = {
        "service_ids": [each.number for each in counted],
        "requests": [each.requests for each in counted],
        "first_s": [each.first_s for each in counted],
        "last_s": [each.last_s for each in counted],
    }
    connection.execute(_SQL["count"], values)


def _known_ids(connection: Connection, names: list[str]) -> dict[str, int]:
    return dict(connection.execute(_SQL["ids"], {"names": names}).fetchall())
