"""Counters are read a little late: a slot of which a part is known is waited for, and is never taken for a low one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forecaster.config.settings import RetrainSettings
from forecaster.daemon.feed import WAIT_S, DemandFeed
from forecaster.demand.counted import Counted, counted_sums
from forecaster.domain.demand import SLOT_S
from forecaster.store import Store
from tests.integration.daemon_world import CHAT, START_S, settings

SLOT = 600.0  # of the champion
EACH = 12.0
"""Requests a minute, as the counters say; the log keeps them all."""


def count(store: Store, until_s: float) -> None:
    """The counters are read from the day's beginning on."""
    minutes = round((until_s - START_S) / SLOT_S)
    each = np.full(minutes, EACH)
    starts = int(START_S) + SLOT_S * np.arange(minutes)
    sums = counted_sums(Counted(starts, each, 48 * each, 24 * each))
    store.meters.put(CHAT, "test", (int(START_S), int(until_s)), sums)


@pytest.fixture
def feed(learned_store: Store) -> DemandFeed:
    service = replace(settings(log_sample=1.0).service[0].service(), metered=True)
    found = DemandFeed(service, None, RetrainSettings(), learned_store)
    found.advance(START_S)
    return found


def test_a_slot_that_was_read_in_part_is_waited_for(feed: DemandFeed, learned_store: Store) -> None:
    count(learned_store, START_S + 2 * SLOT - 120)
    closed = feed.advance(START_S + 2 * SLOT)
    assert closed.load.tolist() == [10 * EACH]
    count(learned_store, START_S + 3 * SLOT)
    assert feed.advance(START_S + 3 * SLOT).load.tolist() == [10 * EACH] * 2
    assert feed.advance(START_S + 3 * SLOT).load.tolist() == []


def test_counters_that_stay_away_are_silence_until_they_come_back(
    feed: DemandFeed, learned_store: Store
) -> None:
    count(learned_store, START_S + 1.5 * SLOT)
    late_s = START_S + 1.5 * SLOT + WAIT_S + 4 * SLOT
    closed = feed.advance(late_s)
    assert closed.load[0] == 10 * EACH
    assert np.isnan(closed.load[1:]).all()  # half a slot is no half a load
    assert closed.load.size == (late_s - WAIT_S - START_S) // SLOT
    count(learned_store, late_s)
    feed.advance(late_s)
    assert feed.live is not None
    history = feed.asked
    assert history is not None
    assert history.arrivals[-int((late_s - START_S) // SLOT) :].tolist() == [10 * EACH] * int(
        (late_s - START_S) // SLOT
    )


def test_a_log_is_known_to_its_end(feed: DemandFeed, learned_store: Store) -> None:
    feed.service = replace(feed.service, metered=False)
    count(learned_store, START_S + 2 * SLOT - 120)
    assert feed.advance(START_S + 2 * SLOT).load.tolist() == [10 * EACH, 8 * EACH]
