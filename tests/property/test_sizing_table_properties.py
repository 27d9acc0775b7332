"""Sizing tables never fall where they must not: in units, rate, SLO and target."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.capacity.curve import between, pooled
from forecaster.capacity.sizing import Question
from forecaster.capacity.sizing_table import SizingTable, corrected
from forecaster.capacity.tables import build_table
from forecaster.domain.demand import TokenMix
from forecaster.domain.profile import ClassicProfile, GenerativeProfile, UnitType
from forecaster.domain.service import Slo

LLAMA = UnitType("l", GenerativeProfile(0.03, 2e-4, 1.7e-7, 9e-5, max_batch=64, chunk_tokens=512))
MLP = UnitType("m", ClassicProfile(((1, 0.01), (4, 0.014), (16, 0.03))))
MOST = 5
QUESTIONS = {
    "chat": Question(LLAMA, Slo(2.0, 0.08), TokenMix.of(500, 150)),
    "answer": Question(LLAMA, Slo(latency_p99_s=60.0), TokenMix.of(500, 150)),
    "bursts": Question(LLAMA, Slo(ttft_p99_s=2.0), TokenMix.of(500, 150), 3.0),
    "classic": Question(MLP, Slo(latency_p99_s=0.1), TokenMix.of(0, 0)),
}
names = st.sampled_from(sorted(QUESTIONS))


@cache
def table(name: str) -> SizingTable:
    return build_table(QUESTIONS[name], MOST)


def aimed(name: str, target: float) -> SizingTable:
    question = QUESTIONS[name]
    return replace(
        table(name), question=replace(question, slo=replace(question.slo, attainment=target))
    )


@settings(max_examples=100, deadline=None)
@given(names, st.integers(1, MOST), st.floats(0, 1e4), st.floats(0, 1e3))
def test_violations_never_fall_as_load_rises(
    name: str, units: int, rate: float, more: float
) -> None:
    share = table(name).violation_share(units, np.array([rate, rate + more]))
    assert 0 <= share[0] <= share[1] <= 1


@settings(max_examples=100, deadline=None)
@given(names, st.floats(0, 1e4))
def test_violations_never_rise_with_units(name: str, rate: float) -> None:
    share = table(name).violation_share(np.arange(MOST + 1), rate)
    assert (np.diff(share) <= 1e-12).all()


@settings(max_examples=60, deadline=None)
@given(names, st.floats(0.5, 0.9989), st.floats(0, 0.001))
def test_capacity_rises_with_units_and_falls_with_the_target(
    name: str, target: float, more: float
) -> None:
    loose, tight = aimed(name, target).capacities(MOST), aimed(name, target + more).capacities(MOST)
    assert (np.diff(tight) >= 0).all()
    assert (tight <= loose + 1e-9).all()


@settings(max_examples=60, deadline=None)
@given(names, st.floats(0.01, 1.0), st.floats(0, 1.0))
def test_need_never_falls_as_load_rises(name: str, part: float, less: float) -> None:
    most = table(name).capacity_rps(MOST)
    need = table(name).need(np.array([part * less, part]) * most)
    assert 1 <= need[0] <= need[1] <= MOST


@settings(max_examples=30, deadline=None)
@given(names, st.floats(0.1, 3.0), st.integers(1, MOST))
def test_a_correction_scales_and_back(name: str, ratio: float, units: int) -> None:
    there = corrected(table(name), ratio)
    assert there.capacity_rps(units) == pytest.approx(ratio * table(name).capacity_rps(units))
    back = corrected(there, 1 / ratio)
    assert back.capacity_rps(units) == pytest.approx(table(name).capacity_rps(units))


@pytest.mark.parametrize("slacker", [Slo(2.4, 0.08), Slo(2.0, 0.09), Slo(None, 0.08)])
def test_capacity_never_falls_as_the_slo_slackens(slacker: Slo) -> None:
    """Within half a per cent: the two are tried at different loads."""
    loose = build_table(replace(QUESTIONS["chat"], slo=slacker), MOST)
    assert (loose.capacities(MOST) >= 0.995 * table("chat").capacities(MOST)).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0.001, 10), st.floats(0, 5)), min_size=2, max_size=12))
def test_a_curve_between_points_passes_them_and_never_falls(
    steps: list[tuple[float, float]],
) -> None:
    x = np.cumsum([each for each, _ in steps])
    z = np.cumsum([each for _, each in steps])
    at = np.linspace(x[0], x[-1], 200)
    assert (np.diff(between(at, x, z)) >= -1e-9).all()
    assert between(x, x, z) == pytest.approx(z, abs=1e-9)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=20))
def test_pooled_never_falls_and_keeps_the_mean(values: list[float]) -> None:
    out = pooled(np.array(values), np.ones(len(values)))
    assert (np.diff(out) >= -1e-9).all()
    assert out.mean() == pytest.approx(np.mean(values), abs=1e-9)
