"""Slots that a source has counted: replaced, never added, and the span that was read beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from forecaster.demand.counted import fuller
from forecaster.domain.demand import SLOT_S, IntArray, RequestBatch, SlotSums
from forecaster.domain.errors import DataError, StoreError
from forecaster.domain.reported import Reported
from forecaster.store.days import forget_days
from forecaster.store.pool import Connection, Pool
from forecaster.store.queries import queries
from forecaster.store.services import Counted, count_requests, lock_services, service_ids
from forecaster.store.slots import ALL_TIME_S, change_slots, drop_slots

_SQL = queries("meter")
_EVER_S = 253_402_300_800
"""The year 9999, epoch seconds."""
_NONE: IntArray = np.zeros(0, np.int64)


class Meters:
    """The store of metered demand: an `ingest.MeterSink`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def begin(self, service: str, from_s: int) -> tuple[int, int] | None:
        """The span that was read, epoch seconds; None for a new meter.

        Raises
        ------
        DataError
            When requests of the service from `from_s` on are known from a log.
        """
        with self._pool.transaction() as connection:
            found = connection.execute(_SQL["span"], {"service": service}).fetchone()
            span = None if found is None else (int(found[0]), int(found[1]))
            before = {"service": service, "from_s": from_s, "to_s": span[0] if span else _EVER_S}
            if connection.execute(_SQL["logged"], before).fetchone() is not None:
                raise DataError(
                    f"a request log of {service!r} reaches into that time: counters would count it again",
                    "begin after its end, or use another service",
                )
            return span

    def counted_until_s(self, service: str) -> float | None:
        """Up to where counters were read, epoch seconds; None where none were."""
        with self._pool.transaction() as connection:
            found = connection.execute(_SQL["span"], {"service": service}).fetchone()
        return None if found is None else float(found[1])

    def forget(self, service: str) -> None:
        """Take back every slot that was counted, and that it was read."""
        with self._pool.transaction() as connection:
            number = service_ids(connection, [service])[service]
            lock_services(connection, [number])
            forget_days(connection, {number: ALL_TIME_S})
            gone = connection.execute(_SQL["take"], {"service_id": number}).fetchone()
            if gone is not None and gone[0]:
                count_requests(connection, [Counted(number, -int(gone[0]), gone[1], gone[1])])
            connection.execute(_SQL["forget"], {"service_id": number})
            connection.execute(_SQL["count_again"], {"service_id": number})

    def put(self, service: str, name: str, span: tuple[int, int], sums: SlotSums) -> int:
        """Store a window and that it was read; return how many arrivals are new.

        A slot that was stored with more arrivals stays: an answer with gaps takes nothing away.

        Raises
        ------
        StoreError
            When the window does not touch what was read: another process reads as well.
        """
        return self._put(service, name, span, sums, fuller)

    def replace(
        self, service: str, name: str, span: tuple[int, int], sums: SlotSums, known_s: IntArray
    ) -> int:
        """Store a window in the place of what was known of the slots `known_s`; return the new arrivals.

        For a source whose later accounts are the better ones.
        """
        silent = np.setdiff1d(known_s, sums.start_s)

        def newer(stored: SlotSums, fresh: SlotSums) -> SlotSums:
            del stored
            return fresh

        return self._put(service, name, span, sums, newer, silent)

    def reported_until_s(self, service: str) -> float | None:
        """End of the newest slot of which the model server's own latencies are known; None before the first."""
        with self._pool.transaction() as connection:
            found = connection.execute(_SQL["reported_until"], {"service": service}).fetchone()
        return None if found is None or found[0] is None else float(found[0]) + SLOT_S

    def told_since(self, from_s: float) -> frozenset[str]:
        """Services of which others told what became of requests, from a moment on."""
        with self._pool.transaction() as connection:
            rows = connection.execute(_SQL["told_since"], {"from_s": from_s}).fetchall()
        return frozenset(row[0] for row in rows)

    def report(self, service: str, span: tuple[int, int], reported: Reported) -> None:
        """Store what a model server reports of a window, in the place of what was known of it."""
        with self._pool.transaction() as connection:
            number = service_ids(connection, [service])[service]
            bounds = {"service_id": number, "from_s": span[0], "to_s": span[1]}
            connection.execute(_SQL["forget_reported"], bounds)
            rows = {
                "starts": reported.start_s.tolist(), "requests": reported.requests.tolist(),
                "outside": reported.outside.tolist(),
            }  # fmt: skip
            connection.execute(_SQL["add_reported"], bounds | rows)

    def reported(self, service: str, from_s: float, to_s: float) -> Reported:
        """What a model server reported of the slots that start in ``[from_s, to_s)``."""
        bounds = {"service": service, "from_s": from_s, "to_s": to_s}
        with self._pool.transaction() as connection:
            rows = connection.execute(_SQL["reported"], bounds).fetchall()
        table = np.array(rows, np.float64).reshape(-1, 3)
        return Reported(table[:, 0].astype(np.int64), table[:, 1], table[:, 2])

    def _put(
        self,
        service: str,
        name: str,
        span: tuple[int, int],
        sums: SlotSums,
        choose: Callable[[SlotSums, SlotSums], SlotSums],
        silent: IntArray = _NONE,
    ) -> int:
        with self._pool.transaction() as connection:
            number = service_ids(connection, [service])[service]
            lock_services(connection, [number])
            values = {"service_id": number, "name": name, "from_s": span[0], "to_s": span[1]}
            if connection.execute(_SQL["widen"], values).fetchone() is None:
                raise StoreError(
                    f"the counts of {service!r} from another time were stored meanwhile", "repeat"
                )
            new = 0

            def combined(stored: SlotSums, fresh: SlotSums) -> SlotSums:
                nonlocal new
                kept = choose(stored, fresh)
                new = int(kept.arrivals.sum() - stored.arrivals.sum())
                return kept

            change_slots(connection, {number: sums}, combined)
            new -= drop_slots(connection, number, silent)
            if new:
                ends_s = _ends_s(sums) if sums.start_s.size else (None, None)
                count_requests(connection, [Counted(number, new, *ends_s)])
            return new


def drop_reported(connection: Connection, days: int) -> None:
    """Keep `days` days of what model servers reported, counted from the newest."""
    connection.execute(_SQL["drop_reported"], {"days": days})


def refuse_metered(
    connection: Connection, ids: Mapping[str, int], batches: Sequence[RequestBatch]
) -> None:
    """Refuse single requests of a time that a source counts.

    Raises
    ------
    DataError
        With the service.
    """
    wanted = {"service_ids": [ids[each.service] for each in batches]}
    since_s: dict[str, float] = dict(connection.execute(_SQL["metered"], wanted).fetchall())
    for each in batches:
        if each.service in since_s and float(each.arrival_s.max()) >= since_s[each.service]:
            raise DataError(
                f"requests of {each.service!r} are counted from metrics: a log would count them again",
                "use one source for a service, or another name",
            )


def _ends_s(sums: SlotSums) -> tuple[float, float]:
    """First and last second with an arrival, epoch seconds."""
    first = float(sums.start_s[0] + np.flatnonzero(sums.counts_1s[0])[0])
    return first, float(sums.start_s[-1] + np.flatnonzero(sums.counts_1s[-1])[-1])
