"""Events that are ordered while a simulation runs do what the same events known before do."""

import numpy as np
import pytest

from forecaster.capacity.kernel import Simulation, UnitEvent, UnitEventKind
from forecaster.capacity.kernel.arrivals import chat
from forecaster.domain.demand import RequestBatch
from forecaster.domain.errors import DataError
from forecaster.domain.profile import GenerativeProfile

UNIT = GenerativeProfile(0.05, 1e-3, 1e-6, 2e-4, max_batch=8, chunk_tokens=256)
EVENTS = [
    UnitEvent(40.0, UnitEventKind.READY),
    UnitEvent(90.0, UnitEventKind.DRAIN),
    UnitEvent(61.0, UnitEventKind.READY),
    UnitEvent(120.0, UnitEventKind.CRASH, 0),
]


def trace() -> RequestBatch:
    return chat(np.random.default_rng(4), 2.0, 400, (200, 40, 0.5))


def pieces(whole: RequestBatch, cut_s: float) -> tuple[RequestBatch, RequestBatch]:
    at = int(np.searchsorted(whole.arrival_s, cut_s))
    columns = (whole.arrival_s, whole.prompt_tokens, whole.output_tokens)
    first, second = ([c[:at] for c in columns], [c[at:] for c in columns])
    return RequestBatch("s", *first), RequestBatch("s", *second)


def test_ordered_later_equals_known_before() -> None:
    known = Simulation(UNIT, 2, events=EVENTS).run(trace(), last=True).in_order
    first, second = pieces(trace(), 30.0)
    sim = Simulation(UNIT, 2)
    before = sim.run(first)
    sim.order(EVENTS[:2])
    sim.order(EVENTS[2:])
    after = sim.run(second, last=True)
    latency_s = np.concatenate([before.latency_s, after.latency_s])
    number = np.concatenate([before.number, after.number])
    np.testing.assert_array_equal(latency_s[np.argsort(number)], known.latency_s)


@pytest.mark.parametrize("at_s", [29.0, float("nan"), float("-inf")])
def test_what_was_played_cannot_be_changed(at_s: float) -> None:
    sim = Simulation(UNIT, 1)
    sim.advance(30.0)
    with pytest.raises(DataError, match="played"):
        sim.order([UnitEvent(50.0, UnitEventKind.READY), UnitEvent(at_s, UnitEventKind.READY)])
    sim.advance(100.0)
    assert sim.spans().unit.tolist() == [0]


def test_an_order_for_this_very_moment_is_carried_out() -> None:
    sim = Simulation(UNIT, 1)
    sim.advance(30.0)
    sim.order([UnitEvent(30.0, UnitEventKind.READY)])
    sim.advance(30.0)
    assert sim.spans().ready_s.tolist() == [-np.inf, 30.0]
