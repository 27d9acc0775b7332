"""Sizing tables: what they promise is kept on traffic they have not seen."""

from dataclasses import replace

import numpy as np
import pytest

from forecaster.capacity.kernel import Simulation
from forecaster.capacity.kernel.arrivals import chat
from forecaster.capacity.sizing import Question
from forecaster.capacity.sizing_table import SizingTable
from forecaster.capacity.tables import build_table, corrected, unit_grid
from forecaster.capacity.trial import outside
from forecaster.domain.demand import TokenMix
from forecaster.domain.errors import DataError, ModelError, SettingError, SloInfeasibleError
from forecaster.domain.plan import Binding
from forecaster.domain.profile import ClassicProfile, GenerativeProfile, UnitType
from forecaster.domain.service import Slo

LLAMA = UnitType(
    "llama",
    GenerativeProfile(
        0.0298, 2.08e-4, 1.7e-7, 9.1e-5, max_batch=128, chunk_tokens=1024, kv_tokens=400_000
    ),
)
BATCHED = UnitType("b", ClassicProfile(((1, 0.010), (8, 0.020)), service_time_scv=0.1))
MIX = (1000.0, 200.0, 1.0)
CHAT = Question(LLAMA, Slo(ttft_p99_s=2.0, tpot_p99_s=0.08), TokenMix.of(*MIX))


@pytest.fixture(scope="module")
def table() -> SizingTable:
    return build_table(CHAT, 8)


@pytest.mark.parametrize(
    ("units", "target", "within"), [(2, 0.99, 0.003), (8, 0.99, 0.003), (8, 0.9, 0.01)]
)
def test_capacity_keeps_the_target_on_fresh_traffic(
    table: SizingTable, units: int, target: float, within: float
) -> None:
    """600,000 requests of another seed at exactly that rate; `benchmarks.sizing` has more."""
    asked = replace(table, question=replace(CHAT, slo=replace(CHAT.slo, attainment=target)))
    rate, count = asked.capacity_rps(units), 600_000
    trace = chat(np.random.default_rng(77), rate, count, MIX)
    trace = replace(trace, arrival_s=trace.arrival_s * (count / rate / trace.arrival_s[-1]))
    done = Simulation(LLAMA.profile, units).run(trace, last=True)
    broken, _ = outside(done, CHAT.slo)
    assert broken.mean() == pytest.approx(1 - target, abs=within)


def test_the_curve_from_nothing_to_far_too_much(table: SizingTable) -> None:
    capacity = table.capacity_rps(4)
    share = table.violation_share(4, capacity * np.array([0.0, 0.3, 1.0, 2.0, 1000.0]))
    assert share[0] == 0.0
    assert share[1] < 1e-3
    assert share[2] == pytest.approx(0.01)
    assert share[3] > 0.9
    assert share[4] == 1.0
    assert table.violation_share(0, np.array([0.0, 1.0])).tolist() == [0.0, 1.0]
    assert table.violation_share(np.array([[1], [8]]), np.array([1.0, 9.0, 20.0])).shape == (2, 3)


def test_need_and_capacity_are_inverse(table: SizingTable) -> None:
    capacities = table.capacities(8)
    assert table.need(capacities).tolist() == list(range(1, 9))
    assert table.need(capacities[:-1] * 1.001).tolist() == list(range(2, 9))
    assert table.need(np.array([0.0])).tolist() == [1]
    assert (table.violation_share(np.arange(1, 9), capacities) <= 0.01 + 1e-9).all()


def test_more_than_the_largest_fleet_carries_is_an_error(table: SizingTable) -> None:
    with pytest.raises(SettingError, match="8 units carry"):
        table.need(np.array([1e4]))
    assert table.need(np.array([1e4]), clipped=True).tolist() == [8]


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1.0])
def test_a_rate_that_is_none_is_refused(table: SizingTable, rate: float) -> None:
    for ask in (table.need, lambda x: table.violation_share(1, x)):
        with pytest.raises(SettingError, match="rate"):
            ask(np.array([1.0, rate]))


def test_what_breaks_first(table: SizingTable) -> None:
    assert table.binding(4) is Binding.TPOT
    slow = build_table(replace(CHAT, slo=Slo(ttft_p99_s=1.0)), 2)
    assert slow.binding(2) is Binding.TTFT
    small = replace(LLAMA, profile=replace(LLAMA.profile, kv_tokens=12_000))
    assert build_table(replace(CHAT, unit=small), 2).binding(2) is Binding.KV
    few = replace(LLAMA, profile=replace(LLAMA.profile, max_batch=8))
    assert build_table(replace(CHAT, unit=few), 2).binding(2) is Binding.BATCH
    whole = build_table(replace(CHAT, slo=Slo(latency_p99_s=60.0)), 2)
    assert whole.binding(2) is Binding.LATENCY
    nothing_else = build_table(replace(CHAT, slo=Slo(tpot_p99_s=5.0)), 2)
    assert nothing_else.binding(2) in (Binding.STABILITY, Binding.BATCH)
    assert nothing_else.capacity_rps(2) <= 2 * nothing_else.saturation_rps


def test_a_classic_model_with_batches_and_bursts() -> None:
    calm = build_table(Question(BATCHED, Slo(latency_p99_s=0.06), TokenMix.of(0, 0)), 4)
    bursts = build_table(Question(BATCHED, Slo(latency_p99_s=0.06), TokenMix.of(0, 0), 40.0), 4)
    assert calm.binding(4) is Binding.LATENCY
    assert bursts.capacity_rps(1) < calm.capacity_rps(1)
    assert calm.capacity_rps(4) < 4 * calm.saturation_rps


def test_the_same_question_gives_the_same_table() -> None:
    first, second = build_table(CHAT, 2), build_table(CHAT, 2)
    np.testing.assert_array_equal(first.rate_per_unit_rps, second.rate_per_unit_rps)


def test_the_target_moves_no_curve() -> None:
    strict, loose = (
        build_table(replace(CHAT, slo=replace(CHAT.slo, attainment=target)), 2)
        for target in (0.999, 0.9)
    )
    np.testing.assert_array_equal(strict.rate_per_unit_rps, loose.rate_per_unit_rps)
    assert strict.capacity_rps(2) < loose.capacity_rps(2)


def test_infeasible_as_the_formulas_say() -> None:
    with pytest.raises(SloInfeasibleError, match=r"ttft_p99_s = 0\.05 s is infeasible"):
        build_table(replace(CHAT, slo=Slo(ttft_p99_s=0.05)), 2)
    with pytest.raises(SloInfeasibleError, match="latency_p99_s") as caught:
        build_table(replace(CHAT, slo=Slo(latency_p99_s=10.0)), 2)
    # the longest hundredth of answers, not the mean one: lognormal, about 985 tokens
    assert caught.value.best_s == pytest.approx(985 * 0.0302, rel=0.1)
    with pytest.raises(SettingError, match="slo"):
        build_table(replace(CHAT, slo=Slo()), 2)


def test_real_lengths_instead_of_moments() -> None:
    prompt, output = np.array([100, 4000]), np.array([300, 1])
    table = build_table(CHAT, 1, (prompt, output))
    assert table.capacity_rps(1) > 0
    with pytest.raises(DataError, match="columns"):
        build_table(CHAT, 1, (prompt, output[:1]))


def test_one_giant_request_is_one_request() -> None:
    prompt = np.r_[np.full(999, 500), 500_000]
    output = np.full(1000, 100)
    assert build_table(CHAT, 1, (prompt, output)).violation_share(1, 0.01) == pytest.approx(
        0.001, rel=0.25
    )
    with pytest.raises(ModelError, match="KV cache"):
        build_table(CHAT, 1, (prompt[-1:], output[-1:]))


def test_a_measured_ratio_moves_the_capacity(table: SizingTable) -> None:
    less = corrected(table, 0.8)
    assert less.capacities(8) == pytest.approx(0.8 * table.capacities(8))
    assert less.violation_share(3, 4.0) == pytest.approx(table.violation_share(3, 5.0))
    assert less.percentiles_s(3, 4.0) == pytest.approx(table.percentiles_s(3, 5.0), nan_ok=True)
    with pytest.raises(SettingError, match="measured_over_predicted"):
        corrected(table, 0.0)


def test_progress_ends_at_one_and_the_grid_at_the_most() -> None:
    told: list[float] = []
    build_table(CHAT, 2, progress=told.append)
    assert told == [0.5, 1.0]
    assert unit_grid(1).tolist() == [1]
    assert unit_grid(300).tolist()[-1] == 64
