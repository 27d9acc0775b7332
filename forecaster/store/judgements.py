"""What operators said of stretches of demand."""

from __future__ import annotations

from collections.abc import Sequence

from forecaster.domain.anomaly import Judgement
from forecaster.store.pool import Connection
from forecaster.store.queries import queries

_SQL = queries("judgement")


def add_judgement(connection: Connection, number: int, made_s: float, said: Judgement) -> None:
    """Write one down; it counts from now on."""
    row = {
        "service_id": number, "made_s": made_s, "start_s": said.start_s, "end_s": said.end_s,
        "keep": said.keep, "why": said.why,
    }  # fmt: skip
    connection.execute(_SQL["add"], row)


def judgements(connection: Connection, service: str) -> tuple[Judgement, ...]:
    """All of a service, the newest last."""
    rows = connection.execute(_SQL["of"], {"service": service}).fetchall()
    return tuple(Judgement(start_s, end_s, keep, why) for start_s, end_s, keep, why in rows)


def judgements_of(
    connection: Connection, numbers: Sequence[int]
) -> dict[int, tuple[Judgement, ...]]:
    """The same of several services, by their numbers; those of which nothing was said are not among them."""
    found: dict[int, tuple[Judgement, ...]] = {}
    rows = connection.execute(_SQL["of_many"], {"service_ids": list(numbers)})
    for number, start_s, end_s, keep, why in rows:
        found[number] = (*found.get(number, ()), Judgement(start_s, end_s, keep, why))
    return found
