"""Invariant 5: units never fall as load rises, the SLO tightens or the target rises."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.capacity import generative
from forecaster.capacity.generative import Load
from forecaster.capacity.queues import erlang_c, wait_exceeds
from forecaster.capacity.sizing import Question, units_for
from forecaster.domain.demand import TokenMix
from forecaster.domain.profile import ClassicProfile, GenerativeProfile, UnitType
from forecaster.domain.service import Slo

LLAMA = UnitType("l", GenerativeProfile(0.03, 2e-4, 1.7e-7, 9e-5, max_batch=64, chunk_tokens=512))
MLP = UnitType("m", ClassicProfile(((1, 0.01), (4, 0.014), (16, 0.03))))
rates = st.floats(0.1, 200.0)
loads = st.floats(0.05, 0.95)


def chat(ttft_s: float, tpot_s: float, attainment: float, prompt: float = 500) -> Question:
    return Question(LLAMA, Slo(ttft_s, tpot_s, None, attainment), TokenMix.of(prompt, 150))


@settings(max_examples=40, deadline=None)
@given(rates, st.floats(1.0, 3.0), st.sampled_from([LLAMA, MLP]))
def test_units_never_fall_as_load_rises(rate: float, factor: float, unit: UnitType) -> None:
    slo = Slo(ttft_p99_s=2.0) if unit is LLAMA else Slo(latency_p99_s=0.1)
    question = Question(unit, slo, TokenMix.of(500, 150))
    assert units_for(question, rate * factor) >= units_for(question, rate)


@settings(max_examples=40, deadline=None)
@given(rates, st.floats(0.6, 2.0), st.floats(0.06, 0.2), st.floats(1.0, 2.0))
def test_units_never_fall_as_the_slo_tightens(
    rate: float, ttft: float, tpot: float, loose: float
) -> None:
    tight = units_for(chat(ttft, tpot, 0.99), rate)
    assert tight >= units_for(chat(ttft * loose, tpot * loose, 0.99), rate)


@settings(max_examples=40, deadline=None)
@given(rates, st.floats(0.9, 0.998), st.floats(0.0, 0.001))
def test_units_never_fall_as_the_target_rises(rate: float, target: float, more: float) -> None:
    assert units_for(chat(2.5, 0.1, target + more), rate) >= units_for(chat(2.5, 0.1, target), rate)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), loads)
def test_waiting_never_rises_with_units(servers: int, utilisation: float) -> None:
    load = servers * utilisation
    assert erlang_c(servers + 1, load) <= erlang_c(servers, load)
    assert wait_exceeds(servers + 1, load, 1.0, 1.0, 0.5) <= wait_exceeds(
        servers, load, 1.0, 1.0, 0.5
    )


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([1, 2, 5, 16]),
    st.floats(1.0, 4.0),
    st.floats(0.05, 0.9),
    st.floats(1.01, 1.5),
    st.sampled_from([(0.0, 1024), (0.01, 128)]),
)
def test_latency_tails_never_fall_as_load_rises(
    units: int, dispersion: float, rho: float, more: float, engine: tuple[float, int]
) -> None:
    delta_s, chunk = engine
    profile = GenerativeProfile(
        0.02, 5e-4, 1.7e-7, 2e-4, delta_s=delta_s, max_batch=64, chunk_tokens=chunk
    )
    mix = TokenMix.of(400, 80)
    one = generative.mean_state(profile, Load(1.0, 1, mix)).rho
    low = Load(rho / one, units, mix, dispersion)
    high = Load(min(rho * more, 0.97) / one, units, mix, dispersion)
    if not generative.stable(profile, high):
        return
    at = np.geomspace(0.02, 60, 60)
    for tail, times in ((generative.ttft_exceeds, at), (generative.tpot_exceeds, at / 10)):
        before, after = tail(profile, low, times), tail(profile, high, times)
        # where an SLO lives: a wider distribution may lie lower at its median
        below = (before < 0.2) & (after < 0.2)
        assert (after[below] >= before[below] - 2e-4).all()
