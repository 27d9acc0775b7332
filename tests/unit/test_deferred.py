"""Batch work: the trough first, more units only for a deadline, and as late as possible."""

import numpy as np
import pytest

from forecaster.domain.deferred import Backlog
from forecaster.planning.deferred import FILL, TRUST, extra_units, spare_erl

HOUR = 60
ROOM = np.full(4 * HOUR, 8)


def spare(erl: float, slots: int = 4 * HOUR) -> np.ndarray:
    return np.full(slots, erl)


def test_interactive_load_goes_first() -> None:
    assert spare_erl(np.array([2.0, 2.0]), np.array([0.5, 3.0])).tolist() == [2 * FILL - 0.5, 0.0]


def test_what_fits_in_the_trough_costs_no_unit() -> None:
    waits = [Backlog(2 * 3600.0, 0.9 * TRUST * 7200.0)]
    assert not extra_units(waits, spare(1.0), 0.0, 1.0, ROOM).any()


def test_what_does_not_fit_gets_units_just_before_its_deadline() -> None:
    waits = [Backlog(2 * 3600.0, TRUST * 7200.0 + 600.0)]
    extra = extra_units(waits, spare(1.0), 0.0, 1.0, ROOM)
    assert np.flatnonzero(extra).tolist() == list(range(110, 120))
    assert extra.max() == 1


def test_two_deadlines_share_what_was_added() -> None:
    waits = [Backlog(3600.0, 600.0), Backlog(2 * 3600.0, 600.0)]
    extra = extra_units(waits[::-1], spare(0.0), 0.0, 1.0, ROOM)
    assert int(extra[:HOUR].sum()) == 10
    assert int(extra.sum()) == 20


def test_more_work_than_time_takes_several_units_at_once_and_no_more_than_there_are() -> None:
    waits = [Backlog(600.0, 2 * 600.0)]
    assert extra_units(waits, spare(0.0), 0.0, 1.0, ROOM)[:10].tolist() == [2] * 10
    hopeless = [Backlog(600.0, 1e6)]
    extra = extra_units(hopeless, spare(0.0), 0.0, 1.0, np.full(4 * HOUR, 3))
    assert extra[:10].tolist() == [3] * 10
    assert not extra[10:].any()


@pytest.mark.parametrize("deadline_s", [-60.0, 1e9])
def test_what_is_late_already_or_far_away_adds_nothing(deadline_s: float) -> None:
    assert not extra_units([Backlog(deadline_s, 600.0)], spare(0.0), 0.0, 1.0, ROOM).any()
