"""Formulas against textbook numbers, and the unit calculator's answers."""

import math

import numpy as np
import pytest

from forecaster.capacity import classic, generative
from forecaster.capacity.generative import Load
from forecaster.capacity.queues import erlang_b, erlang_c, wait_exceeds
from forecaster.capacity.sizing import (
    Question,
    attainment,
    capacity_rps,
    check_feasible,
    size,
    units_for,
)
from forecaster.domain.demand import TokenMix
from forecaster.domain.errors import SettingError, SloInfeasibleError
from forecaster.domain.plan import Binding
from forecaster.domain.profile import ClassicProfile, GenerativeProfile, UnitType
from forecaster.domain.service import Slo

LLAMA = UnitType(
    "llama",
    GenerativeProfile(
        0.0298, 2.08e-4, 1.7e-7, 9.1e-5, max_batch=128, chunk_tokens=1024, kv_tokens=400_000
    ),
)
MLP = UnitType("mlp", ClassicProfile(((1, 0.010),), service_time_scv=1.0))
CHAT = Question(LLAMA, Slo(ttft_p99_s=2.0, tpot_p99_s=0.08), TokenMix.of(1000, 200))


@pytest.mark.parametrize(
    ("c", "a", "blocked"), [(1, 1.0, 0.5), (2, 1.0, 0.2), (5, 3.0, 0.1101), (10, 7.0, 0.0787)]
)
def test_erlang_b_textbook(c: int, a: float, blocked: float) -> None:
    assert erlang_b(c, a) == pytest.approx(blocked, abs=1e-4)


def test_erlang_c_of_one_server_is_its_utilisation() -> None:
    assert erlang_c(1, 0.8) == pytest.approx(0.8)
    assert erlang_c(3, 3.0) == 1.0


def test_mm1_wait_is_exponential() -> None:
    rho, service_s, t = 0.7, 2.0, 5.0
    expected = rho * math.exp(-(1 - rho) * t / service_s)
    assert wait_exceeds(1, rho, service_s, 1.0, t) == pytest.approx(expected)


def test_mean_state_is_littles_law() -> None:
    load = Load(rate_rps=2.0, units=1, mix=TokenMix.of(1000, 200, scv=0))
    state = generative.mean_state(LLAMA.profile, load)
    # the first of 200 tokens comes with the end of the prompt
    assert state.batch == pytest.approx(2.0 * 199 * state.step_s)
    # the step of that batch with its share of prefill is the step we started from
    prefill = 2.0 * 1000 * 9.1e-5 * state.step_s
    assert state.step_s == pytest.approx(0.0298 + state.beta_s * state.batch + prefill, rel=1e-9)


def test_kv_limit_is_the_lesser_one() -> None:
    small = GenerativeProfile(0.03, 2e-4, 0, 9e-5, max_batch=128, kv_tokens=12_000)
    state = generative.mean_state(small, Load(1.0, 1, TokenMix.of(1000, 200)))
    assert state.slots == pytest.approx(10.0)
    assert state.kv_bound


def test_a_lone_request_is_its_own_prefill() -> None:
    mix = TokenMix.of(1000, 200, scv=0)
    own = 0.0298 + 1000 * 9.1e-5
    shares = generative.ttft_exceeds(
        LLAMA.profile, Load(1e-9, 1, mix), np.array([own * 0.999, own * 1.001])
    )
    assert shares[0] == pytest.approx(1.0)
    assert shares[1] < 1e-6


def test_size_of_a_chat_load() -> None:
    answer = size(CHAT, 20.0)
    assert answer.attainment >= 0.99
    assert attainment(CHAT, 20.0, answer.units - 1) < 0.99
    assert answer.binding is Binding.TPOT
    assert answer.ttft_s[0] < answer.ttft_s[1] <= 2.0
    assert answer.tpot_s[1] <= 0.08
    assert f"{answer.units} units" in answer.reason


def test_infeasible_slo_names_part_target_and_what_would_be() -> None:
    tight = Question(LLAMA, Slo(ttft_p99_s=0.05), TokenMix.of(1000, 200))
    with pytest.raises(SloInfeasibleError, match=r"ttft_p99_s = 0\.05 s is infeasible") as caught:
        size(tight, 1.0)
    assert caught.value.best_s > 0.05
    feasible = Question(LLAMA, Slo(ttft_p99_s=caught.value.best_s * 1.01), TokenMix.of(1000, 200))
    check_feasible(feasible)


def test_infeasible_tpot() -> None:
    with pytest.raises(SloInfeasibleError, match="tpot_p99_s"):
        units_for(Question(LLAMA, Slo(tpot_p99_s=0.02), TokenMix.of(1000, 200)), 1.0)


def test_zero_rate_needs_one_unit_and_nonsense_is_refused() -> None:
    assert units_for(CHAT, 0.0) == 1
    for rate in (float("nan"), float("inf"), -1.0):
        with pytest.raises(SettingError, match="rate"):
            units_for(CHAT, rate)


def test_an_slo_without_parts_is_refused() -> None:
    with pytest.raises(SettingError, match="slo"):
        units_for(Question(LLAMA, Slo(), TokenMix.of(10, 10)), 1.0)
    with pytest.raises(SettingError, match="classic"):
        units_for(Question(MLP, Slo(tpot_p99_s=0.1), TokenMix.of(0, 0)), 1.0)


def test_capacity_is_the_inverse_of_need() -> None:
    for units in (1, 3, 9):
        rate = capacity_rps(CHAT, units)
        assert units_for(CHAT, rate * 0.99) <= units
        assert units_for(CHAT, rate * 1.01) > units


def test_capacity_table_rises() -> None:
    table = np.array([capacity_rps(CHAT, units) for units in range(1, 17)])
    assert (np.diff(table) > 0).all()
    assert table[15] >= 15 * table[0]


def test_classic_without_batching_is_mgk() -> None:
    profile = MLP.profile
    assert isinstance(profile, ClassicProfile)
    share = classic.latency_exceeds(profile, 50.0, 1, 1.0, np.array([0.05]))[0]
    # M/M/1: the whole stay is exponential with (1 - rho) / service
    assert share == pytest.approx(math.exp(-0.5 * 0.05 / 0.010), rel=0.02)
    assert share > wait_exceeds(1, 0.5, 0.010, 1.0, 0.04)


def test_batching_carries_more() -> None:
    batched = UnitType("b", ClassicProfile(((1, 0.010), (8, 0.016))))
    slo, mix = Slo(latency_p99_s=0.06), TokenMix.of(0, 0)
    assert capacity_rps(Question(batched, slo, mix), 1) > 2 * capacity_rps(
        Question(MLP, slo, mix), 1
    )


def test_classic_formula_against_simulation() -> None:
    """p99 latency of a batched server within 15 % of a plain event simulation."""
    profile = ClassicProfile(((1, 0.010), (8, 0.017), (16, 0.025)), service_time_scv=0.0)
    rate = 300.0
    rng = np.random.default_rng(2)
    arrivals = np.cumsum(rng.exponential(1 / rate, 200_000))
    latencies, free_at, i = np.empty(arrivals.size), 0.0, 0
    while i < arrivals.size:
        begin = max(free_at, arrivals[i])
        batch = min(int(np.searchsorted(arrivals, begin, side="right")) - i, 16)
        batch = max(batch, 1)
        free_at = begin + float(profile.pass_s(batch))
        latencies[i : i + batch] = free_at - arrivals[i : i + batch]
        i += batch
    p99 = float(np.quantile(latencies, 0.99))
    share = classic.latency_exceeds(profile, rate, 1, 1.0, np.array([0.85 * p99, 1.15 * p99]))
    assert share[0] > 0.01 > share[1]
