"""Observation: what the tier logged is handed on exactly once, whatever fails in between."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from actuators.dry_run import DryRunActuator
from forecaster.daemon import observer as module
from forecaster.daemon.observer import Observer
from forecaster.domain.errors import StoreUnavailableError
from forecaster.domain.units import RequestRecord, UnitEvent
from forecaster.store import Store


class Clock:
    speed = 1.0

    def now_s(self) -> float:
        return 1000.0


class Memory(Store):
    """The three methods that an observer uses, in memory, as the store promises them."""

    def __init__(self) -> None:
        self.seqs: dict[str, list[int]] = {}
        self.rows: list[RequestRecord] = []
        self.events: list[UnitEvent] = []
        self.away = 0
        """Writes until the database goes away, counted down; 0 = it stays."""

    def tier_cursor(self, tier: str) -> tuple[int, int]:
        cursor = self.seqs.get(tier, [0, 0])
        return cursor[0], cursor[1]

    def append_tier_requests(self, records: Sequence[RequestRecord]) -> int:
        self._write()
        self.seqs.setdefault(records[0].tier, [0, 0])[0] = records[-1].seq
        self.rows += records
        return len(records)

    def append_unit_events(self, events: Sequence[UnitEvent]) -> int:
        self._write()
        self.seqs.setdefault(events[0].tier, [0, 0])[1] = events[-1].seq
        self.events += events
        return len(events)

    def _write(self) -> None:
        if self.away == 1:
            raise StoreUnavailableError("the database is away")
        self.away = max(self.away - 1, 0)


def tier_with(requests: int) -> DryRunActuator:
    tier = DryRunActuator(Clock(), ["chat"])
    for number in range(requests):
        record = RequestRecord("", 0, "chat", float(number), 1, 1, 0.1, 0.1, 0.2, "u", 200)
        tier.push_request(record)
    return tier


def test_the_same_records_are_handed_on_once() -> None:
    store, tier = Memory(), tier_with(5)
    observer = Observer(store, tier)
    records, events = observer.observe()
    assert [each.seq for each in records] == [1, 2, 3, 4, 5]
    assert events == []
    assert observer.observe() == ([], [])
    tier.prewarm("chat", 1, reason="test", order_key="a")
    assert [each.seq for each in observer.observe()[1]] == [1]
    assert observer.requests == len(store.rows) == 5


def test_a_long_backlog_is_caught_up_in_bounded_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 10)
    monkeypatch.setattr(module, "MAX_BATCHES", 3)
    observer = Observer(Memory(), tier_with(70))
    assert [len(observer.observe()[0]) for _ in range(4)] == [30, 30, 10, 0]


def test_what_was_stored_before_a_fault_is_still_handed_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "BATCH", 10)
    store = Memory()
    store.away = 3  # two batches go in, the third does not
    observer = Observer(store, tier_with(50))
    seen = observer.observe()[0]
    assert [each.seq for each in seen] == list(range(1, 21))
    for _ in range(3):
        assert observer.observe() == ([], [])
    assert len(caplog.records) == 1  # said once, not once a tick
    store.away = 0
    seen += observer.observe()[0]
    assert [each.seq for each in seen] == [each.seq for each in store.rows] == list(range(1, 51))


def test_a_tier_that_is_away_holds(caplog: pytest.LogCaptureFixture) -> None:
    tier = tier_with(3)
    observer = Observer(Memory(), tier)
    tier.unavailable = True
    assert observer.observe() == ([], [])
    tier.unavailable = False
    assert len(observer.observe()[0]) == 3


def test_a_new_tier_starts_its_numbers_again() -> None:
    store = Memory()
    assert len(Observer(store, tier_with(4)).observe()[0]) == 4
    assert len(Observer(store, tier_with(2)).observe()[0]) == 2
    assert len(store.rows) == 6
