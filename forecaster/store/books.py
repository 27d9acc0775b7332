"""The ledger's tables: lives of units, tariffs, and the books by the quarter of an hour."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from forecaster.domain import pools
from forecaster.domain.books import BookEntry, Held
from forecaster.domain.errors import DataError
from forecaster.domain.money import Tariff
from forecaster.domain.units import UnitEvent
from forecaster.store import services
from forecaster.store.fence import refuse_late
from forecaster.store.pool import Connection, Pool
from forecaster.store.queries import queries
from forecaster.store.tiers import as_events

_SQL = queries("book")


class Books:
    """What a service's units lived, cost and kept; each method one transaction.

    A service that the store has never seen has no units, no tariffs and no entries.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def life_events(self, service: str, from_s: float, to_s: float) -> list[UnitEvent]:
        """Every event of the units that lived in ``[from_s, to_s)``, from their orders on."""
        with self._pool.transaction() as connection:
            number = _number(connection, service)
            bounds = {"service_id": number, "from_s": from_s, "to_s": to_s}
            return as_events(service, connection.execute(_SQL["life_events"], bounds))

    def tariffs(self, service: str) -> list[Tariff]:
        """Every tariff of the service, the oldest first."""
        with self._pool.transaction() as connection:
            return _tariffs(connection, _number(connection, service))

    def keep_tariffs(self, tariffs: Sequence[tuple[str, Tariff]]) -> None:
        """Let the tariffs of services count from their `since_s` on, but for those that are in force."""
        with self._pool.transaction() as connection:
            numbers = services.service_ids(connection, [service for service, _ in tariffs])
            known = connection.execute(
                _SQL["tariffs_in_force"], {"numbers": list(numbers.values())}
            )
            in_force = {(number, pool): tuple(terms) for number, pool, *terms in known}
            for service, tariff in tariffs:
                number, terms = numbers[service], _terms(tariff)
                if in_force.get((number, str(tariff.pool))) == terms:
                    continue
                row = {
                    "service_id": number, "since_s": tariff.since_s, "unit": tariff.unit,
                    "price_per_hour": tariff.price_per_hour, "min_billing_s": tariff.min_billing_s,
                    "billing_step_s": tariff.billing_step_s, "pool": str(tariff.pool),
                }  # fmt: skip
                connection.execute(_SQL["add_tariff"], row)

    def entries(self, service: str, from_s: float, to_s: float) -> list[BookEntry]:
        """Entries that start in ``[from_s, to_s)``, in order."""
        with self._pool.transaction() as connection:
            bounds = {"service_id": _number(connection, service), "from_s": from_s, "to_s": to_s}
            rows = connection.execute(_SQL["entries"], bounds).fetchall()
        return [
            BookEntry(
                at_s,
                requests,
                outside,
                refused,
                arrivals,
                {name: Held(*values) for name, values in held.items()},
            )
            for at_s, requests, outside, refused, arrivals, held in rows
        ]

    def last_entry_s(self, service: str) -> float | None:
        """Start of the newest entry; None before the first."""
        with self._pool.transaction() as connection:
            number = _number(connection, service)
            row = connection.execute(_SQL["last_entry"], {"service_id": number}).fetchone()
        return None if row is None else row[0]

    def put(self, service: str, entries: Sequence[BookEntry]) -> None:
        """Write entries, over those of the same time: all of them or none.

        An entry that compares nothing leaves what was compared before.
        """
        with self._pool.transaction() as connection, connection.cursor() as cursor:
            number = services.service_ids(connection, [service])[service]
            rows = [
                {
                    "service_id": number, "start_s": each.start_s, "requests": each.requests,
                    "outside": each.outside, "refused": each.refused, "arrivals": each.arrivals,
                    "held": orjson.dumps(
                        {k: (h.ready_s, h.warming_s, h.outside) for k, h in each.held.items()}
                    ).decode(),
                }
                for each in entries
            ]  # fmt: skip
            cursor.executemany(_SQL["put"], rows)

    def refuse(
        self, service: str, at_s: float, unit_s: float, requests: float, fence: int | None = None
    ) -> None:
        """Add what a service was refused of the GPUs that it shares, and what that is expected to cost.

        Raises
        ------
        FencedError
            When `fence` is given and another leader was elected since: nothing is added.
        """
        with self._pool.transaction() as connection:
            refuse_late(connection, fence)
            number = services.service_ids(connection, [service])[service]
            row = {"service_id": number, "at_s": at_s, "unit_s": unit_s, "requests": requests}
            connection.execute(_SQL["refuse"], row)

    def refused(self, from_s: float, to_s: float) -> dict[str, tuple[float, float]]:
        """Unit-seconds and expected requests that services were refused in the hours of a range."""
        with self._pool.transaction() as connection:
            rows = connection.execute(_SQL["refused"], {"from_s": from_s, "to_s": to_s}).fetchall()
        return {name: (float(unit_s), float(requests)) for name, unit_s, requests in rows}

    def aim(self, service: str, at_s: float, units: int, fence: int | None = None) -> None:
        """Write down what Tidegate would hold from now on.

        It does not wait for the disk: the order that it stands for does, and takes it along.

        Raises
        ------
        FencedError
            When `fence` is given and another leader was elected since: nothing is written.
        """
        with self._pool.transaction(durable=False) as connection:
            refuse_late(connection, fence)
            number = services.service_ids(connection, [service])[service]
            connection.execute(_SQL["aim"], {"service_id": number, "at_s": at_s, "units": units})

    def aims_in_force(self) -> dict[str, int]:
        """Units that Tidegate would hold of every service for which that was written down."""
        with self._pool.transaction() as connection:
            return dict(connection.execute(_SQL["aims_in_force"]).fetchall())

    def aims(self, service: str, from_s: float, to_s: float) -> list[tuple[float, int]]:
        """(epoch seconds, units) of the changes in a range, and of the one in force before it."""
        with self._pool.transaction() as connection:
            bounds = {"service_id": _number(connection, service), "from_s": from_s, "to_s": to_s}
            rows = connection.execute(_SQL["aims"], bounds).fetchall()
        return [(float(at_s), int(units)) for at_s, units in rows]


def _number(connection: Connection, service: str) -> int:
    try:
        return services.service_id(connection, service)
    except DataError:
        return 0  # numbers begin at 1


def _tariffs(connection: Connection, number: int) -> list[Tariff]:
    rows = connection.execute(_SQL["tariffs"], {"service_id": number}).fetchall()
    return [
        Tariff(unit, price, least_s, step_s, since_s, pools.Pool(pool))
        for unit, price, least_s, step_s, since_s, pool in rows
    ]


def _terms(tariff: Tariff) -> tuple[str, float, float, float]:
    return tariff.unit, tariff.price_per_hour, tariff.min_billing_s, tariff.billing_step_s
