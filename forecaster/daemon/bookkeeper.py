"""The bookkeeper: closes the books of every service, a quarter of an hour at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from forecaster.capacity.sizing_table import SizingTable
from forecaster.daemon.pilot import Pilot
from forecaster.domain.books import BOOK_S, BookEntry
from forecaster.domain.money import Tariff
from forecaster.domain.profile import UnitType
from forecaster.domain.reported import Reported
from forecaster.domain.service import Service, Slo
from forecaster.store import Store
from forecaster.store.rows import Served

AGAIN = 2
"""Entries that are written once more: answers that took long arrive in them."""
MOST = 96
"""Entries that are closed at once: after a long pause the books catch up over several runs."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What policies are to be compared on.

    Attributes
    ----------
    table : SizingTable
        What units carry, as it is believed.
    work_s : float
        Busy seconds of one request of the table's mix.
    lead_s : float
        From order to readiness.
    from_s, to_s : float
        Multiples of `BOOK_S`, epoch seconds.
    """

    service: Service
    unit: UnitType
    table: SizingTable
    work_s: float
    lead_s: float
    from_s: float
    to_s: float


class Rivals(Protocol):
    """Says what each policy would have held, see `forecaster.wiring.rivals`."""

    def __call__(self, asked: Asked) -> list[BookEntry]:
        """One entry for each quarter of an hour of the range, with `arrivals` and `held`."""
        ...


class Bookkeeper:
    """Keeps the books of the pilots' services.

    Parameters
    ----------
    rivals : Rivals
        What would have been held by others.
    """

    def __init__(self, store: Store, rivals: Rivals) -> None:
        self.store, self.rivals = store, rivals

    def open(self, pilots: Iterable[Pilot], now_s: float) -> None:
        """Write down what the services' units cost from now on."""
        found = []
        for pilot in pilots:
            name = pilot.service.name
            found.append((name, tariff_of(pilot, now_s)))
            for pool, unit in pilot.unit.by_pool.items():
                if pool:
                    found.append((name, replace(tariff_of(pilot, now_s, unit), pool=pool)))
        self.store.books.keep_tariffs(found)

    def close(self, pilot: Pilot, now_s: float) -> int:
        """Write the entries that are over; return how many.

        Raises
        ------
        StoreError
            When the database is away: they are written the next time.
        """
        service = pilot.service
        last_s = self.store.books.last_entry_s(service.name)
        end_s = (now_s - pilot.settle_s) // BOOK_S * BOOK_S
        if last_s is None:
            tariffs = self.store.books.tariffs(service.name)
            begin_s = (tariffs[0].since_s if tariffs else now_s) // BOOK_S * BOOK_S
        else:
            begin_s = last_s - (AGAIN - 1) * BOOK_S
        end_s = min(end_s, begin_s + MOST * BOOK_S)
        if end_s <= begin_s:
            return 0
        entries = self._entries(pilot, begin_s, end_s)
        self.store.books.put(service.name, entries)
        return len(entries)

    def _entries(self, pilot: Pilot, begin_s: float, end_s: float) -> list[BookEntry]:
        carrying = pilot.planner.carrying
        table = carrying.believed()
        found = [BookEntry(float(at)) for at in np.arange(begin_s, end_s, BOOK_S)]
        if table is not None:
            asked = Asked(
                pilot.service, pilot.unit, table, carrying.work_s,
                pilot.state.lead_time_s or pilot.unit.lead_time_s * pilot.clock.speed,
                begin_s, end_s,
            )  # fmt: skip
            found = self.rivals(asked)
        served = self.store.served(pilot.service.name, begin_s, end_s)
        if served.ours.any():
            return counted(found, served.take(served.ours), pilot.service.slo)
        return told(found, self.store.meters.reported(pilot.service.name, begin_s, end_s))


def counted(entries: Sequence[BookEntry], served: Served, slo: Slo) -> list[BookEntry]:
    """The entries with what became of the requests that arrived in them."""
    answers = served.answers
    ours = ~answers.clients_fault
    flags = np.stack([ours, ours & answers.outside(slo), ours & answers.refused], axis=1)
    counts = np.zeros((len(entries), 3), np.int64)
    which = ((served.arrival_s - entries[0].start_s) // BOOK_S).astype(np.int64)
    np.add.at(counts, which, flags)
    return [
        replace(entry, requests=requests, outside=outside, refused=refused)
        for entry, (requests, outside, refused) in zip(entries, counts.tolist(), strict=True)
    ]


def told(entries: Sequence[BookEntry], reported: Reported) -> list[BookEntry]:
    """The entries with what others say of their own answers."""
    found = []
    for entry in entries:
        requests, outside = reported.between(entry.start_s, entry.start_s + BOOK_S)
        found.append(replace(entry, requests=round(requests), outside=round(outside)))
    return found


def tariff_of(pilot: Pilot, now_s: float, unit: UnitType | None = None) -> Tariff:
    """What the pilot's units, or those of one pool, cost from now on; times on the installation's clock.

    Of two pools without a word which one: what one of their units costs on average.
    """
    unit, speed = unit or pilot.unit, pilot.clock.speed
    return Tariff(
        unit.name,
        unit.price_per_hour,
        unit.min_billing_s * speed,
        unit.billing_step_s * speed,
        now_s,
    )
