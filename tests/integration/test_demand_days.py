"""Whole days are summed once; whatever changes one, it is read as if nothing were kept."""

from __future__ import annotations

import math

import numpy as np
import psycopg
import pytest

from forecaster.demand import to_series
from forecaster.domain.demand import DemandSeries, LogSource, RequestBatch
from forecaster.store import Store

MONDAY_S = 1_767_571_200.0
DAY_S = 86_400.0
LOG_FROM_S = MONDAY_S + 5000.0


def ingest(store: Store, head: str, from_s: float, to_s: float, count: int = 3000) -> None:
    rng = np.random.default_rng(int(from_s) % 1000)
    at = np.sort(rng.uniform(from_s, to_s, count))
    prompt, output = rng.integers(1, 900, count), rng.integers(1, 90, count)
    new = LogSource(0, 1, head, "", "log")
    store.append_requests(new, new, [RequestBatch("chat", at, prompt, output)])


def read(store: Store, weighed: bool, until_s: float = math.inf, slot_s: float = 300.0) -> DemandSeries:  # fmt: skip
    (known,) = store.learning.known({"chat": ""}, 42.0, until_s, slot_s, weighed)
    return to_series("chat", known.slots, bursts=False, slot_s=slot_s)


def same(store: Store, until_s: float = math.inf, slot_s: float = 300.0) -> None:
    """What is read for training is what the minutes say."""
    minutes = store.slots("chat", None, min(until_s, 4e9))
    whole = to_series("chat", minutes, bursts=False, slot_s=slot_s)
    for weighed in (True, False, True, False):
        found = read(store, weighed, until_s, slot_s)
        assert found.start_s == whole.start_s
        np.testing.assert_array_equal(found.arrivals, whole.arrivals)
        if weighed:
            np.testing.assert_array_equal(found.prompt_tokens, whole.prompt_tokens)
            np.testing.assert_allclose(found.mix.prompt_output, whole.mix.prompt_output)


def kept(dsn: str) -> list[float]:
    """Days that are kept, counted from the Monday."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "select distinct extract(epoch from start)::float8 from demand_day where not weighed order by 1"
        )
        return [(row[0] - MONDAY_S) / DAY_S for row in rows]


@pytest.fixture
def chat(store: Store) -> Store:
    ingest(store, "first", LOG_FROM_S, MONDAY_S + 4.5 * DAY_S)
    return store


def test_all_days_but_the_last_are_kept_and_read_the_same(chat: Store, dsn: str) -> None:
    for _ in range(2):
        same(chat)
        assert kept(dsn) == [0, 1, 2, 3]
    same(chat, until_s=MONDAY_S + 2.3 * DAY_S)
    same(chat, until_s=MONDAY_S + 2 * DAY_S)
    same(chat, slot_s=1800.0)


def test_new_demand_is_seen(chat: Store, dsn: str) -> None:
    same(chat)
    ingest(chat, "next", MONDAY_S + 4.5 * DAY_S, MONDAY_S + 6.2 * DAY_S)
    same(chat)
    assert kept(dsn) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("from_day", "to_day"), [(2.2, 2.4), (-1.5, -1.2), (0.01, 3.9)])
def test_late_demand_is_seen(chat: Store, dsn: str, from_day: float, to_day: float) -> None:
    same(chat)
    ingest(chat, "late", MONDAY_S + from_day * DAY_S, MONDAY_S + to_day * DAY_S, 50)
    assert not set(np.floor([from_day, to_day])) & set(kept(dsn))
    same(chat)


def test_days_without_demand_are_days(chat: Store) -> None:
    ingest(chat, "later", MONDAY_S + 7.1 * DAY_S, MONDAY_S + 8.6 * DAY_S)
    same(chat)
    same(chat)


def test_what_is_being_changed_is_not_kept(chat: Store, dsn: str) -> None:
    with psycopg.connect(dsn) as writer:
        writer.execute("select pg_advisory_xact_lock(7464, id) from service")
        assert read(chat, weighed=False).arrivals.size
        assert kept(dsn) == []


def test_counts_beyond_what_a_row_holds_are_not_kept(chat: Store, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("update demand_slot set arrivals = 5000000000")
    same(chat)
    assert kept(dsn) == []
