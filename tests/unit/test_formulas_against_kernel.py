"""Formula p99 against 120,000 simulated requests, fixed seeds, least-work routing.

Tolerances (TTFT, TPOT): llama70b-h100x8 15 % and 10 % (issue 3), prompts of three chunks 20 % and
25 %; the tiny profile, whose prompts take ten steps' time each, 20 % and 22 % with Poisson arrivals. Classic
units: latency 15 %, 16 % with batching.
Slots and prompt reading are used up to 85 %: beyond it the length of the run decides the tail.
`python -m benchmarks.formulas` writes the whole table.
"""

import numpy as np
import pytest

from forecaster.capacity import classic, generative
from forecaster.capacity.generative import Load
from forecaster.capacity.kernel import Simulation
from forecaster.capacity.kernel.arrivals import arrivals, chat, mix_of
from forecaster.domain.demand import FloatArray, RequestBatch, TokenMix
from forecaster.domain.profile import ClassicProfile, GenerativeProfile

COUNT, WARM_UP, USED_MOST = 120_000, 4_000, 0.85
LLAMA = GenerativeProfile(0.0298, 2.08e-4, 1.7e-7, 9.1e-5, max_batch=128, chunk_tokens=1024,
                          kv_tokens=400_000)  # fmt: skip
TINY = GenerativeProfile(0.01, 1.4e-3, 1.4e-5, 1.2e-3, delta_s=0.008, max_batch=16,
                         chunk_tokens=128, kv_tokens=8192)  # fmt: skip
Mix = tuple[float, float, float]
CHAT, SHORT, LONG, PROMPTS = (
    (1000.0, 200.0, 1.0), (300.0, 150.0, 1.0), (500.0, 500.0, 0.5), (3000.0, 60.0, 0.5),
)  # fmt: skip
LLAMA_CASES = [
    (CHAT, 1, 0.3, 1.0), (CHAT, 1, 0.5, 1.0), (CHAT, 4, 0.5, 1.0), (CHAT, 4, 0.7, 2.0),
    (CHAT, 16, 0.5, 1.0), (CHAT, 16, 0.6, 3.0), (CHAT, 1, 0.5, 2.0), (SHORT, 1, 0.5, 1.0),
    (SHORT, 16, 0.5, 3.0), (LONG, 1, 0.3, 1.0), (LONG, 4, 0.5, 2.0), (LONG, 16, 0.5, 1.0),
]  # fmt: skip
TINY_CASES = [
    ((48.0, 24.0, 0.5), 1, 0.3), ((48.0, 24.0, 0.5), 1, 0.5), ((48.0, 24.0, 0.5), 4, 0.5),
    ((100.0, 60.0, 0.5), 1, 0.5), ((100.0, 60.0, 0.5), 4, 0.5), ((30.0, 40.0, 0.2), 16, 0.5),
]  # fmt: skip


def compared(
    profile: GenerativeProfile, mix: Mix, units: int, rho: float, dispersion: float
) -> tuple[Load, FloatArray, FloatArray]:
    """Return the load as counted and what the kernel makes of it: (load, TTFT, TPOT)."""
    one = generative.mean_state(profile, Load(1.0, 1, TokenMix.of(*mix))).rho
    random = np.random.default_rng(17)
    trace = chat(random, rho / one * units, COUNT, mix, dispersion)
    rate_rps = COUNT / trace.arrival_s[-1] / units
    load = Load(float(rate_rps), units, mix_of(trace), dispersion)
    state = generative.mean_state(profile, load)
    busy, _ = generative.slot_load(profile, load, state)
    used = max(busy / (units * state.slots), generative.prefill_use(profile, load))
    assert generative.stable(profile, load)
    assert used < USED_MOST, "this case is outside what the tolerance is stated for"
    done = Simulation(profile, units).run(trace, last=True).in_order
    return load, done.ttft_s[WARM_UP:], done.tpot_s[WARM_UP:]


def within(exceeds: FloatArray) -> bool:
    """Whether the formula's p99 lies between the two times that were asked for."""
    return bool(exceeds[0] > 0.01 > exceeds[1])


def around(sample: FloatArray, tolerance: float) -> FloatArray:
    """The times at which the formula must be above and below 1 %, from the simulated p99."""
    p99 = float(np.nanquantile(sample, 0.99))
    return p99 * np.array([1 - tolerance, 1 + tolerance])


@pytest.mark.parametrize(("mix", "units", "rho", "dispersion"), LLAMA_CASES)
def test_llama_within_issue_3(mix: Mix, units: int, rho: float, dispersion: float) -> None:
    load, ttft_s, tpot_s = compared(LLAMA, mix, units, rho, dispersion)
    assert within(generative.ttft_exceeds(LLAMA, load, around(ttft_s, 0.15)))
    assert within(generative.tpot_exceeds(LLAMA, load, around(tpot_s, 0.10)))


@pytest.mark.parametrize(("units", "rho"), [(1, 0.5), (4, 0.5), (16, 0.5)])
def test_prompts_of_several_chunks(units: int, rho: float) -> None:
    load, ttft_s, tpot_s = compared(LLAMA, PROMPTS, units, rho, 1.0)
    assert within(generative.ttft_exceeds(LLAMA, load, around(ttft_s, 0.20)))
    assert within(generative.tpot_exceeds(LLAMA, load, around(tpot_s, 0.25)))


@pytest.mark.parametrize(("mix", "units", "rho"), TINY_CASES)
def test_passes_of_their_own(mix: Mix, units: int, rho: float) -> None:
    load, ttft_s, tpot_s = compared(TINY, mix, units, rho, 1.0)
    assert within(generative.ttft_exceeds(TINY, load, around(ttft_s, 0.20)))
    assert within(generative.tpot_exceeds(TINY, load, around(tpot_s, 0.22)))


@pytest.mark.parametrize(("units", "rho"), [(1, 0.5), (1, 0.8), (4, 0.8), (16, 0.8)])
def test_the_mean_step_and_batch_follow_from_littles_law(units: int, rho: float) -> None:
    """Median TPOT within 5 % of the mean step wherever units are not near their slots."""
    wide = GenerativeProfile(0.0298, 2.08e-4, 1.7e-7, 9.1e-5, max_batch=2048, chunk_tokens=8192,
                             kv_tokens=10**8)  # fmt: skip
    mix = (300.0, 400.0, 0.2)
    load, _, tpot_s = compared(wide, mix, units, rho, 1.0)
    state = generative.mean_state(wide, load)
    assert np.nanmedian(tpot_s) == pytest.approx(state.step_s, rel=0.05)


def latencies(
    profile: ClassicProfile, units: int, rate_rps: float, dispersion: float
) -> FloatArray:
    at = arrivals(np.random.default_rng(5), rate_rps, COUNT, dispersion)
    none = np.zeros(COUNT, np.int64)
    random = np.random.default_rng(6)
    scv = profile.service_time_scv
    factor = random.gamma(1 / scv, scv, COUNT) if scv else np.ones(COUNT)
    room = 1 if profile.max_batch == 1 else None
    sim = Simulation(profile, units, room=room)
    return sim.run(RequestBatch("c", at, none, none), factor, last=True).in_order.latency_s[
        WARM_UP:
    ]


@pytest.mark.parametrize("units", [1, 4, 16])
@pytest.mark.parametrize("rho", [0.5, 0.8])
def test_classic_without_batching(units: int, rho: float) -> None:
    """M/G/k by Allen-Cunneen: p99 latency within 15 %."""
    profile = ClassicProfile(((1, 0.010),), service_time_scv=0.05)
    found = latencies(profile, units, units * rho / 0.010, 1.0)
    asked = around(found, 0.15)
    assert within(classic.latency_exceeds(profile, rho / 0.010, units, 1.0, asked))


@pytest.mark.parametrize("dispersion", [1.0, 3.0])
@pytest.mark.parametrize("units", [1, 4, 16])
@pytest.mark.parametrize("rho", [0.3, 0.6, 0.8])
def test_classic_with_batching(units: int, rho: float, dispersion: float) -> None:
    profile = ClassicProfile(((1, 0.010), (8, 0.017), (16, 0.025)), service_time_scv=0.01)
    rate = rho * classic.best_rate_rps(profile)
    found = latencies(profile, units, units * rate, dispersion)
    asked = around(found, 0.16)
    assert within(classic.latency_exceeds(profile, rate, units, dispersion, asked))
