"""Traces worked by hand through units that generate: every time is a sum one can check on paper."""

import numpy as np
import pytest

from forecaster.capacity.kernel import (
    Routing,
    Simulation,
    UnitEvent,
    UnitEventKind,
    follow,
    simulate,
)
from forecaster.domain.demand import RequestBatch
from forecaster.domain.errors import DataError, ModelError
from forecaster.domain.profile import GenerativeProfile

FUSED = GenerativeProfile(0.1, 0.01, 0.001, 0.002, max_batch=4, chunk_tokens=100, kv_tokens=1000)
"""A step is 0.1 + 0.01 b + 0.001 ctx + 0.002 p."""


def trace(*rows: tuple[float, int, int]) -> RequestBatch:
    at, prompt, output = zip(*rows, strict=True)
    return RequestBatch("s", np.array(at, float), np.array(prompt), np.array(output))


def test_one_request_reads_then_decodes_over_a_growing_context() -> None:
    done = simulate(FUSED, trace((5.0, 50, 4)), units=1)
    # read 50: 0.1 + 0.1; then three steps with ctx 50, 51, 52
    assert done.ttft_s[0] == pytest.approx(0.2)
    assert done.tpot_s[0] == pytest.approx((3 * 0.11 + 0.050 + 0.051 + 0.052) / 3)
    assert done.latency_s[0] == pytest.approx(0.2 + 0.33 + 0.153)


def test_a_long_prompt_is_read_in_chunks() -> None:
    done = simulate(FUSED, trace((0.0, 250, 1)), units=1)
    assert done.ttft_s[0] == pytest.approx((0.1 + 0.2) * 2 + 0.1 + 0.1)
    assert np.isnan(done.tpot_s[0])
    assert done.latency_s[0] == done.ttft_s[0]


def test_two_that_overlap_slow_each_other() -> None:
    done = simulate(FUSED, trace((0.0, 50, 3), (0.25, 20, 2)), units=1)
    # A: read to 0.2; step 1 to 0.2 + 0.11 + 0.05 = 0.36, B came during it
    # both: A's last token, B read: 0.1 + 0.01 + 0.051 + 0.04 = 0.201 to 0.561; B alone: 0.11 + 0.02
    assert done.latency_s[0] == pytest.approx(0.561)
    assert done.ttft_s[1] == pytest.approx(0.561 - 0.25)
    assert done.latency_s[1] == pytest.approx(0.691 - 0.25)


def test_short_prompts_share_a_chunk_and_the_rest_waits() -> None:
    done = simulate(FUSED, trace((0.0, 10, 1), (0.01, 60, 1), (0.02, 60, 1)), units=1)
    # 0.12 for the first; then 60 + 40 of 60: 0.3; then the last 20: 0.14
    assert done.ttft_s + done.arrival_s == pytest.approx([0.12, 0.42, 0.56])


def test_a_unit_that_reads_in_passes_of_its_own_pays_them_and_no_base_when_nothing_decodes() -> (
    None
):
    own = GenerativeProfile(0.1, 0.01, 0.0, 0.002, delta_s=0.05, max_batch=4, chunk_tokens=100)
    done = simulate(own, trace((0.0, 150, 2), (0.26, 10, 1)), units=1)
    # two passes: 0.05 + 0.2 and 0.05 + 0.1; the second of the trace came during the second
    assert done.ttft_s[0] == pytest.approx(0.40)
    # one decodes, one is read: 0.1 + 0.01 + 0.05 + 0.02
    assert done.latency_s == pytest.approx([0.58, 0.58 - 0.26])


def test_squared_prompt_cost() -> None:
    square = GenerativeProfile(0.1, 0.0, 0.0, 0.0, gamma2_s=1e-4, chunk_tokens=100)
    done = simulate(square, trace((0.0, 150, 1)), units=1)
    assert done.ttft_s[0] == pytest.approx(0.1 + 1.0 + 0.1 + 0.25)


def test_the_cache_limit_holds_back_and_a_request_above_it_is_refused() -> None:
    small = GenerativeProfile(0.1, 0.0, 0.0, 0.0, max_batch=4, chunk_tokens=1000, kv_tokens=100)
    done = simulate(small, trace((0.0, 50, 3), (0.01, 60, 2), (0.02, 90, 20)), units=1)
    # 53 + 62 > 100: the second is read when the first has gone, at 0.3
    assert done.latency_s[0] == pytest.approx(0.3)
    assert done.ttft_s[1] + 0.01 == pytest.approx(0.4)
    assert done.status.tolist() == [0, 0, 2]
    assert done.unit.tolist() == [0, 0, -1]


def test_the_batch_limit_holds_back() -> None:
    two = GenerativeProfile(0.1, 0.0, 0.0, 0.0, max_batch=2, chunk_tokens=1000)
    done = simulate(two, trace((0.0, 1, 5), (0.0, 1, 3), (0.01, 1, 1)), units=1)
    # the first is read alone; the second beside its first decoding, tokens at 0.2, 0.3, 0.4
    assert done.latency_s == pytest.approx([0.5, 0.4, 0.5 - 0.01])


def test_room_keeps_the_rest_in_one_queue() -> None:
    tight = Simulation(FUSED, units=1, room=1)
    done = tight.run(trace((0.0, 50, 1), (0.0, 50, 1)), last=True).in_order
    assert done.latency_s == pytest.approx([0.2, 0.4])


def test_nothing_to_read_and_nothing_to_say_still_is_one_step() -> None:
    done = simulate(FUSED, trace((0.0, 0, 0)), units=1)
    assert done.latency_s[0] == pytest.approx(0.1)


def test_a_gap_of_a_day_changes_nothing() -> None:
    done = simulate(FUSED, trace((0.0, 50, 4), (86_400.0, 50, 4)), units=1)
    assert done.latency_s[0] == pytest.approx(done.latency_s[1])


def test_a_draining_unit_finishes_what_it_has_and_takes_no_more() -> None:
    events = [UnitEvent(0.1, UnitEventKind.READY), UnitEvent(0.2, UnitEventKind.DRAIN, 0)]
    sim = Simulation(FUSED, units=1, events=events)
    done = sim.run(trace((0.0, 50, 40), (0.3, 50, 1)), last=True).in_order
    assert done.unit.tolist() == [0, 1]
    spans = sim.spans()
    assert spans.unit.tolist() == [0, 1]
    assert spans.drain_s[0] == 0.2
    assert spans.gone_s[0] == pytest.approx(done.latency_s[0])
    assert spans.ready_s[1] == 0.1
    assert np.isinf(spans.gone_s[1])


def test_a_crash_fails_what_was_started_and_moves_the_rest_in_order() -> None:
    events = [UnitEvent(0.15, UnitEventKind.CRASH, 0), UnitEvent(1.0, UnitEventKind.READY)]
    sim = Simulation(FUSED, units=1, events=events)
    done = sim.run(trace((0.0, 50, 9), (0.1, 20, 1), (0.12, 30, 1)), last=True).in_order
    assert done.status.tolist() == [1, 0, 0]
    assert np.isnan(done.ttft_s[0])
    assert done.latency_s[0] == pytest.approx(0.15)
    # the second alone wakes the new unit (as a real one), the third follows in the next step
    assert done.latency_s[1] == pytest.approx(1.0 + 0.14 - 0.1)
    assert done.latency_s[2] == pytest.approx(1.0 + 0.14 + 0.16 - 0.12)
    assert sim.spans().crashed.tolist() == [True, False]


def test_requests_without_a_unit_wait_for_one_or_say_so() -> None:
    waiting = Simulation(FUSED, units=0, events=[UnitEvent(7.0, UnitEventKind.READY)])
    assert waiting.run(trace((0.0, 50, 1)), last=True).latency_s[0] == pytest.approx(7.2)
    with pytest.raises(ModelError, match="never comes"):
        Simulation(FUSED, units=0).run(trace((0.0, 50, 1)), last=True)


def test_a_fleet_follows_a_number_of_units() -> None:
    events = follow([(1.0, 3), (2.0, 1)], present=2)
    sim = Simulation(FUSED, units=2, events=events)
    sim.run(trace((5.0, 50, 1)), last=True)
    spans = sim.spans()
    assert sorted(spans.gone_s.tolist()) == [2.0, 2.0, np.inf]
    assert sorted(spans.ready_s.tolist()) == [-np.inf, -np.inf, 1.0]


@pytest.mark.parametrize(
    ("rule", "units"),
    [
        (Routing.ROUND_ROBIN, [0, 1, 2, 0]),
        (Routing.LEAST_WORK, [0, 1, 2, 1]),
        (Routing.FEWEST_REQUESTS, [0, 1, 2, 1]),
    ],
)
def test_router_rules(rule: Routing, units: list[int]) -> None:
    rows = trace((0.0, 90, 9), (0.0, 10, 2), (0.0, 80, 2), (0.01, 10, 2))
    assert simulate(FUSED, rows, units=3, routing=rule).unit.tolist() == units


def test_power_of_two_repeats_by_seed_and_uses_every_unit() -> None:
    rows = trace(*[(0.01 * i, 10, 20) for i in range(200)])
    once = simulate(FUSED, rows, 5, Routing.POWER_OF_TWO, seed=3).unit
    again = simulate(FUSED, rows, 5, Routing.POWER_OF_TWO, seed=3).unit
    other = simulate(FUSED, rows, 5, Routing.POWER_OF_TWO, seed=4).unit
    assert (once == again).all()
    assert (once != other).any()
    assert set(once.tolist()) == set(range(5))


@pytest.mark.parametrize(
    "rows",
    [[(float("nan"), 1, 1)], [(2.0, 1, 1), (1.0, 1, 1)], [(0.0, -1, 1)], [(0.0, 1, 10**8)]],
)
def test_broken_traces_are_refused(rows: list[tuple[float, int, int]]) -> None:
    with pytest.raises(DataError):
        simulate(FUSED, trace(*rows), units=1)


def test_a_chunk_before_the_last_one_is_refused() -> None:
    sim = Simulation(FUSED, units=1)
    sim.run(trace((5.0, 1, 1)))
    with pytest.raises(DataError, match="order"):
        sim.run(trace((4.0, 1, 1)))
