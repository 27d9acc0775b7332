"""The store: one object, each method one transaction. The work is in the modules beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forecaster.demand import to_series
from forecaster.domain.demand import DemandSeries, IntArray, LogSource, RequestBatch, SlotSums
from forecaster.domain.errors import DataError, SettingError
from forecaster.domain.profile import Profile
from forecaster.domain.service import Pin
from forecaster.domain.units import RequestRecord, UnitEvent
from forecaster.domain.word import Word
from forecaster.store import (
    foretold,
    journal,
    migrate,
    models,
    pins,
    requests,
    services,
    sources,
    switches,
    tiers,
)
from forecaster.store.activity import Activity
from forecaster.store.alerts import Alerts
from forecaster.store.books import Books
from forecaster.store.learning import Learning
from forecaster.store.meters import Meters, drop_reported
from forecaster.store.pool import Connection, Pool
from forecaster.store.pushed import Pushed
from forecaster.store.rows import DecisionRow, ModelRow, Served, ServiceSummary
from forecaster.store.slots import read_slots
from forecaster.store.switches import Switch


class Store:
    """PostgreSQL behind small methods in epoch seconds and domain values.

    Every method raises `StoreUnavailableError` when the database is away (hold and retry; nothing
    is half done) and `StoreError` when it refuses for a reason that a retry does not mend. Methods
    that name one service raise `DataError` with the known names when it does not exist.

    Attributes
    ----------
    books : Books
        The ledger's tables.
    learning : Learning
        The forecasting engine's.
    alerts : Alerts
        Alerts and their notices.
    meters : Meters
        Demand that a source has counted.
    pushed : Pushed
        Samples and spans that senders push.
    activity : Activity
        What happened: decisions, orders, alerts and changes by hand, page by page.

    Examples
    --------
    >>> store = Store.open(dsn)  # doctest: +SKIP
    >>> store.migrate(); store.demand("chat", slot_s=300).arrivals  # doctest: +SKIP
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.books = Books(pool)
        self.learning = Learning(pool)
        self.alerts = Alerts(pool)
        self.meters = Meters(pool)
        self.pushed = Pushed(pool)
        self.activity = Activity(pool)

    @classmethod
    def open(cls, dsn: str) -> Store:
        """Connect."""
        return cls(Pool(dsn))

    @property
    def dsn(self) -> str:
        """Where this store is, for a process that opens its own."""
        return self._pool.dsn

    def close(self) -> None:
        """Disconnect."""
        self._pool.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ping(self) -> None:
        """Return when the database answers."""
        with self._pool.transaction():
            pass

    def migrate(self) -> int:
        """Bring the schema up to date; return how many migrations were applied."""
        with self._pool.transaction() as connection:
            return migrate.migrate(connection)

    # Demand

    def services(self) -> list[ServiceSummary]:
        """Services that have requests, by name."""
        with self._pool.transaction() as connection:
            return services.summaries(connection)

    def slots(
        self, service: str, from_s: float | None = None, to_s: float | None = None
    ) -> SlotSums:
        """Sums per minute that start in ``[from_s, to_s)``."""
        with self._pool.transaction() as connection:
            return read_slots(connection, services.service_id(connection, service), from_s, to_s)

    def demand(
        self,
        service: str,
        from_s: float | None = None,
        to_s: float | None = None,
        slot_s: float = 300.0,
        log_sample: float = 1.0,
        profile: Profile | None = None,
    ) -> DemandSeries:
        """Demand on a regular grid; see `forecaster.demand.to_series`."""
        with self._pool.transaction() as connection:
            number = services.service_id(connection, service)
            slots = read_slots(connection, number, from_s, to_s)
        return to_series(
            service, slots, from_s, to_s,
            slot_s=float(slot_s), log_sample=log_sample, profile=profile,
        )  # fmt: skip

    def request_rows(self, service: str, from_s: float, to_s: float) -> RequestBatch:
        """Single requests that arrived in ``[from_s, to_s)``, as far as they were kept."""
        with self._pool.transaction() as connection:
            return requests.request_rows(
                connection, service, _bounds(connection, service, from_s, to_s)
            )

    def lengths(self, service: str, days: float, most: int) -> tuple[IntArray, IntArray]:
        """Prompt and output tokens of the newest `days` of requests, thinned evenly to `most`.

        Returns
        -------
        (int64[n], int64[n])
            Empty where no single request was kept.
        """
        with self._pool.transaction() as connection:
            number = services.service_id(connection, service)
            return requests.lengths(connection, number, days, most)

    def served(self, service: str, from_s: float, to_s: float, *, logged: bool = False) -> Served:
        """What became of the requests of ``[from_s, to_s)``; `logged`: where a log tells how long they took."""
        with self._pool.transaction() as connection:
            bounds = _bounds(connection, service, from_s, to_s)
            return requests.served(connection, bounds, logged=logged)

    def drop_raw_before(self, days: int) -> int:
        """Keep `days` days of single requests and forecasts, counted from the newest stored day.

        Demand per minute is kept for ever. Returns the number of dropped days.
        """
        if days < 1:
            raise SettingError("days", days, "1 or more", "keep at least the newest day")
        with self._pool.transaction() as connection:
            foretold.drop_foretold(connection, days)
            drop_reported(connection, days)
            row = connection.execute(requests.SQL["drop_days"], {"keep_days": days}).fetchone()
            return int(row[0]) if row else 0

    # Ingest: this is an `ingest.RequestSink`

    def head_lengths(self, service: str) -> Sequence[int]:
        """Lengths of the log heads that are stored under this operator-given service."""
        with self._pool.transaction() as connection:
            return sources.head_lengths(connection, service)

    def sources_with_heads(self, service: str, heads: Sequence[str]) -> Sequence[LogSource]:
        """Logs with one of these head hashes, the furthest read first."""
        with self._pool.transaction() as connection:
            return sources.sources_with_heads(connection, service, heads)

    def read_at(self, service: str, name: str) -> float | None:
        """When a log of this name was last read."""
        with self._pool.transaction() as connection:
            return sources.read_at(connection, service, name)

    def append_requests(
        self,
        before: LogSource,
        after: LogSource,
        batches: Sequence[RequestBatch],
        retract: RequestBatch | None = None,
    ) -> LogSource:
        """Store a block of a log: rows, demand and position in one transaction, or nothing.

        Parameters
        ----------
        before, after : LogSource
            Where the reading stood (`source_id` 0 for a new log) and where it stands now.
        batches : sequence of RequestBatch
            What the block holds, one batch per service.
        retract : RequestBatch or None
            A row stored before that has turned out to be the beginning of a longer line.

        Returns
        -------
        LogSource
            `after` with its number.
        """
        names = {batch.service for batch in batches} | ({retract.service} if retract else set())
        ids = self._service_ids(names)
        with self._pool.transaction() as connection:
            stored = sources.advance(connection, before, after)
            if retract is not None:
                requests.take_back(connection, ids[retract.service], retract)
            requests.append_log(connection, ids, batches)
        return stored

    # Tiers

    def tier_cursor(self, tier: str) -> tuple[int, int]:
        """Return the numbers of the last stored request and event of a tier."""
        with self._pool.transaction() as connection:
            return tiers.tier_cursor(connection, tier)

    def append_tier_requests(self, records: Sequence[RequestRecord]) -> int:
        """Store what tiers answered, each (tier, seq) once, and bin it; return how many were new."""
        ids = self._service_ids({record.service for record in records})
        with self._pool.transaction() as connection:
            groups = tiers.by_tier(records).items()
            return sum(tiers.append_tier_requests(connection, ids, *group) for group in groups)

    def append_unit_events(self, events: Sequence[UnitEvent]) -> int:
        """Store unit events, each (tier, seq) once; return how many were new."""
        ids = self._service_ids({event.service for event in events})
        with self._pool.transaction() as connection:
            groups = tiers.by_tier(events).items()
            return sum(tiers.append_unit_events(connection, ids, *group) for group in groups)

    def unit_events(self, service: str, from_s: float, to_s: float) -> list[UnitEvent]:
        """Events of the service's units in ``[from_s, to_s)``, in order; none when unknown."""
        with self._pool.transaction() as connection:
            try:
                bounds = _bounds(connection, service, from_s, to_s)
            except DataError:
                return []
            return tiers.unit_events(connection, service, bounds)

    # Models

    def save_model(self, row: ModelRow) -> int:
        """Store a version and return its number; a live one takes the place of the live one."""
        number = self._service_ids({row.service})[row.service]
        with self._pool.transaction() as connection:
            return models.save_model(connection, number, row)

    def live_model(self, service: str) -> ModelRow | None:
        """Return the live version, if there is one."""
        with self._pool.transaction() as connection:
            return models.live_model(connection, service)

    def models(self, service: str) -> list[ModelRow]:
        """Every version, newest first."""
        with self._pool.transaction() as connection:
            return models.versions(connection, service)

    def set_live(self, service: str, model_id: int) -> None:
        """Make one version the live one (roll-back)."""
        with self._pool.transaction() as connection:
            number = services.service_id(connection, service)
            models.set_live(connection, number, service, model_id)

    # Pins

    def set_pin(self, service: str, pin: Pin) -> None:
        """Set a number of units by hand."""
        number = self._service_ids({service})[service]
        with self._pool.transaction() as connection:
            pins.add_pin(connection, number, pin)

    def take_pin(self, service: str, now_s: float) -> None:
        """Take the pin away."""
        number = self._service_ids({service})[service]
        with self._pool.transaction() as connection:
            pins.take_pin(connection, number, now_s)

    def pin(self, service: str) -> Pin | None:
        """The pin that was set last, in force or over."""
        with self._pool.transaction() as connection:
            return pins.newest_pin(connection, service)

    # Switches

    def switch(self, made_s: float, service: str, name: str, value: str, word: Word) -> None:
        """Write down what an operator switched; an empty service is the whole installation."""
        with self._pool.transaction() as connection:
            switches.add_switch(connection, made_s, service, name, value, word)

    def switched(self) -> dict[tuple[str, str], str]:
        """Modes and freeze in force, as far as they were ever switched: (service, name) → value."""
        with self._pool.transaction() as connection:
            return switches.switched(connection)

    def switches(self, limit: int = 100, before_id: int | None = None) -> list[Switch]:
        """The audit log, newest first."""
        with self._pool.transaction() as connection:
            return switches.switches(connection, limit, before_id)

    def append_decision(
        self,
        service: str,
        at_s: float,
        inputs: Mapping[str, Any],
        output: Mapping[str, Any],
        ordered: bool,
        fence: int | None = None,
        by: str = "",
        durable: bool = True,
    ) -> int:
        """Append to the journal, NaN as null, and return the entry's number; `durable`: see `Pool.transaction`.

        With a leadership's number as `fence` only while that one leads; else `FencedError`.
        """
        entry = {"inputs": inputs, "output": output, "ordered": ordered, "by": by}
        with self._pool.transaction(durable) as connection:
            number = services.service_ids(connection, {service})[service]
            return journal.append_decision(connection, number, at_s, entry, fence)

    def decisions(
        self, service: str, limit: int = 100, before_id: int | None = None
    ) -> list[DecisionRow]:
        """At most `limit` decisions numbered below `before_id`, newest first."""
        with self._pool.transaction() as connection:
            return journal.decisions(connection, service, limit, before_id)

    def decision_at(self, service: str, at_s: float) -> DecisionRow | None:
        """Return the decision that was in force at `at_s`."""
        with self._pool.transaction() as connection:
            return journal.decision_at(connection, service, at_s)

    def _service_ids(self, names: set[str]) -> dict[str, int]:
        """Numbers of services, added in a transaction of their own: that never waits for a batch."""
        if not names:
            return {}
        with self._pool.transaction() as connection:
            return services.service_ids(connection, names)


def _bounds(connection: Connection, service: str, from_s: float, to_s: float) -> dict[str, Any]:
    number = services.service_id(connection, service)
    return {"service_id": number, "from_s": from_s, "to_s": to_s}
