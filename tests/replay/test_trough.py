"""Batch requests in the replay: let in by work, first come first, and counted when they are late."""

from __future__ import annotations

import numpy as np
import pytest

from forecaster.domain.demand import RequestBatch
from forecaster.replay.trough import BLOCK_S, Trough
from tests.replay.conftest import UNIT

LENGTHS = np.full(10, 100)
ARRIVALS = 600.0 * np.arange(10)


def trough(deadline_s: float = 7200.0) -> Trough:
    return Trough(RequestBatch("b", ARRIVALS, LENGTHS, LENGTHS), deadline_s, UNIT.profile)


def test_no_more_work_is_let_in_than_there_is_room_for_and_none_before_it_came() -> None:
    found = trough()
    one_s = found.work_s(slice(0, 1))
    part, rows = found.let_in(1500.0, 300.0, 2.5 * one_s)
    assert (rows.start, rows.stop) == (0, 2)
    assert ((part.arrival_s >= 1500.0) & (part.arrival_s < 1800.0)).all()
    part, rows = found.let_in(1800.0, 300.0, 1e9)
    assert (rows.start, rows.stop) == (2, 3), "what comes later is not there yet"
    assert found.work_s(rows) == pytest.approx(one_s), "the room that nobody took is no work"
    assert found.let_in(1800.0, 300.0, 0.0)[1] == slice(3, 3)


def test_the_backlog_is_what_waits_by_deadline() -> None:
    found = trough()
    one_s = found.work_s(slice(0, 1))
    waits = found.backlog(4000.0)
    assert [each.deadline_s for each in waits] == [7200.0 + n * BLOCK_S for n in range(3)]
    assert sum(each.work_s for each in waits) == pytest.approx(7 * one_s)
    found.let_in(4000.0, 300.0, 3.5 * one_s)
    assert sum(each.work_s for each in found.backlog(4000.0)) == pytest.approx(4 * one_s)


def test_what_was_never_answered_is_late_once_it_is_due() -> None:
    found = trough()
    assert found.late(7200.0) == 1
    assert found.late(1e9) == 10
