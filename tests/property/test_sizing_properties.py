"""Invariant 5: units never fall as load rises, the SLO tightens or the target rises."""

from hypothesis import given, settings
from hypothesis import strategies as st

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
