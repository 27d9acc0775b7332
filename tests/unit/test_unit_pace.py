"""The benchmark's time change: a unit at a pace is the unit of its profile in another time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.unit_pace import Pace, played_at_pace
from forecaster.capacity.kernel import simulate
from forecaster.domain.demand import RequestBatch
from forecaster.domain.profile import GenerativeProfile

PROFILE = GenerativeProfile(
    alpha_s=0.002, beta_s=2e-4, kappa_s=1e-6, gamma_s=1e-4, max_batch=8, chunk_tokens=64
)
NOW_S = 1.7e9


def requests(count: int = 300) -> RequestBatch:
    rng = np.random.default_rng(3)
    arrival_s = NOW_S + np.cumsum(rng.exponential(0.02, count))
    return RequestBatch("chat", arrival_s, rng.integers(1, 200, count), rng.integers(1, 40, count))


def test_one_pace_is_a_profile_of_longer_steps() -> None:
    trace = requests()
    costs = ("alpha_s", "beta_s", "kappa_s", "gamma_s")
    slower = replace(PROFILE, **{name: 1.5 * getattr(PROFILE, name) for name in costs})
    expected = simulate(slower, trace, 1)
    ttft_s, tpot_s = played_at_pace(PROFILE, trace, Pace(np.array([NOW_S + 1.0]), np.array([1.5])))
    np.testing.assert_allclose(ttft_s, expected.ttft_s, atol=1e-4)  # a twentieth of a step
    np.testing.assert_allclose(tpot_s, expected.tpot_s, atol=1e-4)


def test_a_slow_minute_is_felt_by_those_who_come_in_it() -> None:
    trace = requests()
    half_s = float(trace.arrival_s[150])
    calm = Pace(np.array([half_s]), np.array([1.0]))
    slow = Pace(np.array([half_s, half_s + 100.0]), np.array([1.0, 3.0]))
    before, after = played_at_pace(PROFILE, trace, calm)[0], played_at_pace(PROFILE, trace, slow)[0]
    np.testing.assert_allclose(before[:140], after[:140], atol=1e-4)
    assert after[160:].mean() > 2 * before[160:].mean()


def test_looks_become_paces_of_whole_spans() -> None:
    looks = np.array([[0, 0, 0], [1, 1, 1], [2, 2, 2], [3, 5, 3], [4, 8, 4], [5, 8.1, 4.1]], float)
    pace = Pace.of(looks)
    assert pace.pace == pytest.approx([1.0, 3.0])
    times_s = np.array([0.5, 2.5, 3.7, 9.0])
    assert pace.to_wall(pace.to_operational(times_s)) == pytest.approx(times_s)
    assert pace.mean(0.0, 4.0) == pytest.approx(4 / (2 + 2 / 3))
