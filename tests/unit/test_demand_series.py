"""A regular series: missing is not zero, partial slots are dropped, dispersion is robust."""

from __future__ import annotations

import numpy as np
import pytest

from forecaster.demand import bin_requests, dispersion, to_series
from forecaster.demand.gaps import missing_slots
from forecaster.domain.demand import RequestBatch, SlotSums
from forecaster.domain.errors import DataError, SettingError

DAY_S = 86400


def slots_at(arrival_s: np.ndarray) -> SlotSums:
    none = np.zeros(arrival_s.size, np.int64)
    return bin_requests(RequestBatch("chat", arrival_s, none, none))


def every(seconds: float, begin: float, end: float) -> np.ndarray:
    return np.arange(begin, end, seconds)


def test_slots_lie_on_multiples_of_their_length() -> None:
    series = to_series("chat", slots_at(every(1, 300, 1500)), slot_s=300)
    assert (series.start_s, series.end_s) == (300.0, 1500.0)
    assert series.arrivals.tolist() == [300.0] * 4
    assert series.arrival_rate_rps.tolist() == [1.0] * 4


def test_partial_slots_at_both_ends_are_dropped() -> None:
    series = to_series("chat", slots_at(every(1, 150, 1450)), slot_s=300)
    assert (series.start_s, series.end_s) == (300.0, 1200.0)


def test_the_last_slot_counts_when_only_chance_left_it_open() -> None:
    series = to_series("chat", slots_at(every(10, 3, 900)), slot_s=300)
    assert (series.start_s, series.end_s) == (0.0, 900.0)


def test_a_given_range_keeps_only_whole_slots() -> None:
    series = to_series("chat", slots_at(every(1, 0, 3600)), 100, 1000, slot_s=300)
    assert (series.start_s, series.end_s) == (300.0, 900.0)


def test_a_sampled_log_is_scaled_up() -> None:
    series = to_series("chat", slots_at(every(1, 0, 600)), slot_s=300, log_sample=0.25)
    assert series.arrivals.tolist() == [1200.0, 1200.0]


def test_a_silent_hour_of_a_busy_service_is_missing() -> None:
    arrival_s = np.concatenate([every(1, 0, 36000), every(1, 39600, DAY_S)])
    series = to_series("chat", slots_at(arrival_s), slot_s=300)
    silent = slice(36000 // 300, 39600 // 300)
    assert np.isnan(series.arrivals[silent]).all()
    assert np.isnan(series.prompt_tokens[silent]).all()
    assert np.isfinite(np.delete(series.arrivals, np.r_[silent])).all()


def test_a_quiet_service_has_true_zeros() -> None:
    series = to_series("chat", slots_at(every(700, 0, DAY_S)), slot_s=300)
    assert np.isfinite(series.arrivals).all()
    assert (series.arrivals == 0).any()


def test_nights_that_are_always_empty_are_zeros() -> None:
    days = [every(1, day * DAY_S + 8 * 3600, day * DAY_S + 20 * 3600) for day in range(7)]
    series = to_series("chat", slots_at(np.concatenate(days)), 0, 7 * DAY_S, slot_s=600)
    assert np.isfinite(series.arrivals).all()


def test_two_lost_days_in_fourteen_are_missing() -> None:
    days = [every(2, day * DAY_S, (day + 1) * DAY_S) for day in range(14) if day not in (5, 6)]
    series = to_series("chat", slots_at(np.concatenate(days)), slot_s=600)
    assert np.isnan(series.arrivals).sum() == 2 * 144


def test_twenty_expected_arrivals_are_the_boundary() -> None:
    arrivals = np.full(100, 20.0)
    arrivals[50] = 0
    assert not missing_slots(arrivals, 0.0, 60.0).any()
    arrivals[51] = 0
    assert missing_slots(arrivals, 0.0, 60.0)[50:52].all()


@pytest.mark.parametrize(("slot_s", "log_sample"), [(90, 1), (30, 1), (60, 0), (60, 1.5)])
def test_settings_out_of_range_are_refused(slot_s: float, log_sample: float) -> None:
    with pytest.raises(SettingError, match=r"slot_s|log_sample"):
        to_series("chat", slots_at(every(1, 0, 600)), slot_s=slot_s, log_sample=log_sample)


def test_too_short_a_log_has_no_whole_slot() -> None:
    with pytest.raises(DataError, match="no whole slot of 3600 s"):
        to_series("chat", slots_at(every(1, 100, 200)), slot_s=3600)


@pytest.mark.parametrize(("bin_s", "tolerance"), [(1, 0.03), (10, 0.05), (60, 0.12)])
def test_poisson_arrivals_on_a_tide_have_dispersion_one(bin_s: int, tolerance: float) -> None:
    """Tolerances are three standard errors of the median over the blocks of three days."""
    rng = np.random.default_rng(7)
    t = rng.uniform(0, 3 * DAY_S, 600_000)
    t = t[rng.uniform(size=t.size) < 0.5 + 0.45 * np.sin(2 * np.pi * t / DAY_S)]
    assert dispersion(slots_at(np.sort(t)), bin_s) == pytest.approx(1.0, abs=tolerance)


def test_over_dispersed_arrivals_show() -> None:
    """A gamma renewal process with shape 1/4 has dispersion 4 over long windows."""
    gaps = np.random.default_rng(3).gamma(0.25, 4.0, 300_000)
    assert dispersion(slots_at(np.cumsum(gaps)), 60) == pytest.approx(3.9, rel=0.07)


def test_one_flash_crowd_does_not_speak_for_the_month() -> None:
    rng = np.random.default_rng(5)
    calm = rng.uniform(0, 2 * DAY_S, 100_000)
    crowd = rng.uniform(50_000, 50_060, 50_000)
    assert dispersion(slots_at(np.sort(np.r_[calm, crowd])), 10) == pytest.approx(1.0, abs=0.05)


def test_too_little_for_dispersion_is_poisson() -> None:
    assert dispersion(slots_at(np.array([1.0, 2.0]))) == 1.0
