"""Prefill and decode pools, and units that warm for a sampled lead time."""

from dataclasses import replace

import numpy as np
import pytest

from forecaster.capacity.kernel import (
    Simulation,
    simulate,
    simulate_decode,
    simulate_disaggregated,
    warmed,
)
from forecaster.capacity.kernel.arrivals import chat
from forecaster.domain.demand import RequestBatch
from forecaster.domain.errors import SettingError
from forecaster.domain.profile import GenerativeProfile, PdProfile

UNIT = GenerativeProfile(0.03, 2e-3, 1e-5, 1e-3, max_batch=8, chunk_tokens=100, kv_tokens=5_000)
PD = PdProfile(UNIT, UNIT, handover_s=0.5, handover_per_token_s=0.001)


def trace(prompt: list[int], output: list[int], gap_s: float = 100.0) -> RequestBatch:
    at_s = np.arange(len(prompt)) * gap_s
    return RequestBatch("s", at_s, np.array(prompt), np.array(output))


def test_one_request_by_hand() -> None:
    done = simulate_disaggregated(PD, trace([150], [3]), (1, 1))
    # 100 + 50 tokens in two steps; the hand-over; two steps with 150 and 151 tokens in the cache
    ttft = 2 * 0.03 + 150 * 1e-3
    decode = 2 * (0.03 + 2e-3) + 1e-5 * (150 + 151)
    assert done.ttft_s == pytest.approx([ttft])
    assert done.latency_s == pytest.approx([ttft + 0.5 + 0.15 + decode])
    assert done.tpot_s == pytest.approx([(0.5 + 0.15 + decode) / 2])


def test_without_a_hand_over_a_lone_request_is_as_on_one_unit() -> None:
    some = trace([150, 20, 400], [3, 50, 2])
    apart = simulate_disaggregated(PdProfile(UNIT, UNIT), some, (1, 1))
    fused = simulate(UNIT, some, 1)
    for name in ("ttft_s", "tpot_s", "latency_s"):
        assert getattr(apart, name) == pytest.approx(getattr(fused, name)), name


def test_one_token_never_reaches_the_decode_pool_and_a_giant_is_refused() -> None:
    done = simulate_disaggregated(PD, trace([100, 100, 100], [1, 0, 6_000]), (1, 1))
    assert done.status.tolist() == [0, 0, 2]
    assert np.isnan(done.tpot_s).all()
    assert done.latency_s[:2] == pytest.approx([0.13, 0.13])


def test_every_request_once_and_decoding_undisturbed_by_prompts() -> None:
    some = chat(np.random.default_rng(1), 2.0, 2_000, (300, 30, 1.0))
    some = replace(some, prompt_tokens=np.minimum(some.prompt_tokens, 3_000))
    apart = simulate_disaggregated(PdProfile(UNIT, UNIT, 0.01), some, (2, 2))
    assert apart.number.tolist() == list(range(2_000))
    assert (apart.status == 0).all()
    assert (apart.latency_s >= apart.ttft_s).all()
    fused = simulate(UNIT, some, 4)
    assert np.nanquantile(apart.tpot_s, 0.99) < np.nanquantile(fused.tpot_s, 0.99)


def test_the_decode_pool_keeps_its_limits() -> None:
    """Nine at once on eight slots: the last waits for one to end."""
    some = trace([10] * 9, [11] * 9, gap_s=0.0)
    done = simulate_disaggregated(PdProfile(UNIT, UNIT), some, (9, 1))
    assert done.latency_s.max() >= done.latency_s.min() + 10 * (0.03 + 2e-3)


def test_a_decode_pool_alone_is_the_second_half() -> None:
    some = trace([150, 20, 400, 30], [3, 50, 2, 1])
    both = simulate_disaggregated(PD, some, (1, 1))
    alone = simulate_decode(PD, some, 1)
    assert alone.tpot_s == pytest.approx(both.tpot_s, nan_ok=True)
    assert alone.latency_s == pytest.approx(both.latency_s - both.ttft_s)


def test_nonsense_is_refused() -> None:
    with pytest.raises(SettingError, match="pools"):
        simulate_disaggregated(PD, trace([1], [1]), (1, 0))
    with pytest.raises(SettingError, match="handover"):
        simulate_disaggregated(replace(PD, handover_s=-1.0), trace([1], [1]), (1, 1))


def test_units_warm_for_a_sampled_lead_time() -> None:
    leads = np.array([60.0, 90.0, 300.0])
    events = warmed([(10.0, 200), (500.0, 1)], leads, seed=3)
    assert events == warmed([(10.0, 200), (500.0, 1)], leads, seed=3)
    at_s = np.array([e.at_s for e in events])
    assert (np.diff(at_s) >= 0).all()
    assert set(at_s[at_s < 500]) == {70.0, 100.0, 310.0}
    sim = Simulation(UNIT, 0, events=events[:2])
    assert sim.run(trace([10], [2]), last=True).latency_s[0] > 60.0
    for wrong in ([], [-1.0], [float("nan")]):
        with pytest.raises(SettingError, match="lead_times_s"):
            warmed([(0.0, 1)], np.array(wrong))
