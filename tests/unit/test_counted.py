"""Counters become demand: resets, births, gaps, and what is assumed of single requests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forecaster.demand import to_series
from forecaster.demand.counted import Counted, counted_sums, fuller, grown, total
from forecaster.demand.dispersion import dispersion
from forecaster.domain.demand import TokenMix
from forecaster.ingest.meter import OVERLAP_S, WINDOW_S, windows

NAN = float("nan")


def totals(arrivals: list[float], start_s: int = 0) -> Counted:
    n = np.array(arrivals)
    return Counted(start_s + 60 * np.arange(n.size), n, 1000 * n, 200 * n)


def test_a_counter_that_restarts_counts_from_zero() -> None:
    assert grown(np.array([[10.0, 30.0, 5.0, 9.0]])).tolist() == [[20.0, 5.0, 4.0]]


def test_what_a_counter_held_when_it_was_first_seen_is_not_demand() -> None:
    found = grown(np.array([[NAN, 1e6, 1e6 + 3]]), np.array([0]))
    assert np.isnan(found[0, 0])
    assert found[0, 1] == 3


def test_a_label_that_appears_on_a_process_that_was_seen_counts_whole() -> None:
    values = np.array([[4.0, 6.0], [NAN, 2.0], [NAN, 900.0]])
    found = grown(values, np.array([0, 0, 1]))
    assert found[:2].tolist() == [[2.0], [2.0]]
    assert np.isnan(found[2, 0])


def test_silence_is_not_zero() -> None:
    assert np.isnan(total(np.full((2, 3), NAN))).all()
    assert np.isnan(total(np.zeros((0, 3)))).all()
    assert total(np.array([[1.0, NAN], [2.0, NAN]]))[0] == 3.0


def test_the_moments_are_those_that_the_token_mix_assumes() -> None:
    rng = np.random.default_rng(3)
    sums = counted_sums(totals(rng.poisson(200, 600).astype(float).tolist()))
    mix = to_series("chat", sums).mix
    assumed = TokenMix.of(1000, 200)
    for name in TokenMix.__dataclass_fields__:
        assert getattr(mix, name) == pytest.approx(getattr(assumed, name), rel=1e-3), name


def test_poisson_minutes_look_like_poisson_seconds() -> None:
    rng = np.random.default_rng(4)
    sums = counted_sums(totals(rng.poisson(120, 3000).astype(float).tolist()))
    for bin_s in (1, 10, 60):
        assert dispersion(sums, bin_s) == pytest.approx(1.0, abs=0.05)


def test_fractions_are_rounded_without_bias_and_always_alike() -> None:
    fraction = totals([0.3] * 20_000)
    sums = counted_sums(fraction)
    assert int(sums.arrivals.sum()) == pytest.approx(6000, rel=0.03)
    later = counted_sums(totals([0.3] * 100, start_s=60 * 500))
    again = {int(s): int(n) for s, n in zip(sums.start_s, sums.arrivals, strict=True)}
    assert all(again[int(s)] == n for s, n in zip(later.start_s, later.arrivals, strict=True))
    assert sums.prompt_tokens.sum() / sums.arrivals.sum() == pytest.approx(1000)


counts = st.lists(st.integers(0, 50).map(float), min_size=1, max_size=12)


@given(counts, counts)
def test_the_fuller_account_never_loses_and_is_the_same_twice(
    a: list[float], b: list[float]
) -> None:
    first, second = counted_sums(totals(a)), counted_sums(totals(b))
    both = fuller(first, second)
    wanted = {}
    for each in (first, second):
        for start_s, n in zip(each.start_s.tolist(), each.arrivals.tolist(), strict=True):
            wanted[start_s] = max(wanted.get(start_s, 0), n)
    assert dict(zip(both.start_s.tolist(), both.arrivals.tolist(), strict=True)) == wanted
    again = fuller(both, second)
    for name in type(both).__dataclass_fields__:
        assert np.array_equal(getattr(again, name), getattr(both, name))


minutes = st.integers(0, 5000).map(lambda minute: minute * 60)


@given(minutes, minutes, minutes, minutes, st.sampled_from([60, 300]))
@example(0, 600, 60, 0, 300)  # read in minutes before the step was five of them
def test_windows_cover_everything_without_a_hole_and_in_an_order_that_may_stop(
    from_s: int, until_s: int, since_s: int, length_s: int, step_s: int
) -> None:
    from_s, until_s = from_s // step_s * step_s, until_s // step_s * step_s
    span = [since_s, since_s + length_s]
    for at_s, to_s in windows(from_s, until_s, (span[0], span[1]), step_s):
        assert at_s % step_s == to_s % step_s == 0
        assert 0 < to_s - at_s <= WINDOW_S
        assert at_s <= span[1]
        assert to_s >= span[0]  # it touches what was read
        span = [min(span[0], at_s), max(span[1], to_s)]
    assert span[0] <= max(from_s, since_s)
    assert span[1] >= until_s
    assert OVERLAP_S % 60 == 0
