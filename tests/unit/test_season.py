"""Correction, calibration, backtest, selection and the live forecaster."""

import numpy as np
import pytest

from forecaster.domain.demand import DemandSeries, TokenMix
from forecaster.domain.errors import TooLittleHistoryError
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.backtest import backtest, first_slot
from forecaster.seasonal.calendar import Calendar
from forecaster.seasonal.calibration import conformal_quantiles
from forecaster.seasonal.champion import Calibrated, calibrate
from forecaster.seasonal.correction import fit_correction, residual_bank, shift
from forecaster.seasonal.live import LiveForecaster
from forecaster.seasonal.pool import Pool, SmoothNaive
from forecaster.seasonal.spread import fit_spread, spread_at
from forecaster.seasonal.training import last_days, train

SLOT_S, DAY = 1800.0, 48
START_S = 1_735_689_600.0
QUICK = ("profile", "ridge")


def series(days: float = 14, seed: int = 1, noise: float = 1.0) -> DemandSeries:
    t = np.arange(int(days * DAY))
    rng = np.random.default_rng(seed)
    rate = 60 + 50 * np.sin(2 * np.pi * t / DAY)
    level = np.exp(0.15 * np.cumsum(rng.standard_normal(t.size)) / np.sqrt(DAY))
    y = rng.poisson(rate * level).astype(float) if noise else rate
    return DemandSeries("s", START_S, SLOT_S, y, 0 * y, 0 * y, TokenMix.of(1, 1), 1.0)


def test_conformal_rank_is_the_finite_sample_one() -> None:
    errors = np.arange(1.0, 100.0)  # 99 errors: the 0.99 quantile is the 99th of 100
    assert conformal_quantiles(errors, (0.5, 0.99)).tolist() == [50, 99]


def test_conformal_covers_fresh_errors() -> None:
    rng = np.random.default_rng(0)
    cover = [
        np.mean(
            rng.standard_normal(400) <= conformal_quantiles(rng.standard_normal(400), (0.95,))[0]
        )
        for _ in range(200)
    ]
    assert 0.94 < np.mean(cover) < 0.965


def test_correction_learns_how_a_deviation_fades() -> None:
    rng = np.random.default_rng(4)
    residual = np.zeros(4000)
    for t in range(1, residual.size):
        residual[t] = 0.9 * residual[t - 1] + 0.1 * rng.standard_normal()
    bank, season = residual_bank(residual, 300.0), np.zeros(4000)
    weights = fit_correction(residual, bank, (1, 8, 64), season).sum(axis=1)
    assert 0.8 < weights[0] < 1.0
    assert weights[0] > weights[1] > abs(weights[2])


def test_bank_carries_over_gaps() -> None:
    bank = residual_bank(np.array([1.0, np.nan, np.nan]), 300.0)
    np.testing.assert_array_equal(bank[0], bank[2])


def test_backtest_sees_only_the_past() -> None:
    found = series()
    calendar = Calendar(START_S, SLOT_S, CalendarSpec())
    mask = np.ones(found.arrivals.size, bool)
    first = first_slot(found.arrivals.size, DAY)
    honest = backtest("ridge", found.arrivals, calendar, mask, first)
    spoilt = found.arrivals.copy()
    spoilt[first + DAY :] *= 100  # the future changes: the first day's forecast must not
    other = backtest("ridge", spoilt, calendar, mask, first)
    np.testing.assert_array_equal(honest.base[:DAY], other.base[:DAY])


def test_too_little_history_says_how_much_is_needed() -> None:
    with pytest.raises(TooLittleHistoryError, match=r"48\.0 h of history, 72\.0 h are needed"):
        train(series(days=2), CalendarSpec(), QUICK)


def test_champion_beats_naive_on_a_tide() -> None:
    verdict = train(series(), CalendarSpec(), (*QUICK, "pool"))
    assert verdict.beats_naive
    assert verdict.champion == "pool"
    assert verdict.score.wape < verdict.naive.wape


def test_what_loses_to_naive_is_not_crowned() -> None:
    # a fixed pattern without noise: yesterday is perfect, nothing can beat it
    rng = np.random.default_rng(5)
    pattern = np.tile(rng.integers(1, 100, DAY).astype(float), 14)
    flat = series(noise=0)
    perfect = DemandSeries(
        "s", START_S, SLOT_S, pattern, flat.arrivals, flat.arrivals, flat.mix, 1.0
    )
    verdict = train(perfect, CalendarSpec(), QUICK)
    assert not verdict.beats_naive
    assert verdict.champion in ("naive-day", "naive-week")
    assert "nobody beats" in verdict.reason


def test_calibrated_survives_json() -> None:
    found = series()
    mask = np.ones(found.arrivals.size, bool)
    verified = backtest(
        "ridge", found.arrivals, Calendar(START_S, SLOT_S, CalendarSpec()), mask, 300
    )
    learnt = calibrate(verified, SLOT_S)
    assert Calibrated.from_dict(learnt.to_dict()) == learnt


def test_live_forecaster_follows_the_level() -> None:
    found = series()
    verdict = train(found, CalendarSpec(), ("ridge",))
    calm = LiveForecaster(verdict.calibrated, found, CalendarSpec())
    high = LiveForecaster(verdict.calibrated, found, CalendarSpec())
    ahead = calm.forecast(4, (0.5,), 0.0).arrival_rate_rps[:, 0] * SLOT_S
    calm.advance(ahead)
    high.advance(2 * ahead)
    near_calm = calm.forecast(2 * DAY, (0.5,), 0.0).arrival_rate_rps[:, 0]
    near_high = high.forecast(2 * DAY, (0.5,), 0.0).arrival_rate_rps[:, 0]
    ratio = near_high / near_calm
    assert ratio[0] > 1.1
    assert (ratio > 0.9).all()


def test_live_forecaster_in_one_go_or_slot_by_slot() -> None:
    found = series()
    verdict = train(found, CalendarSpec(), ("ridge",))
    rest = found.arrivals[-10:]
    head = DemandSeries(
        "s", START_S, SLOT_S, found.arrivals[:-10], *(found.arrivals[:-10],) * 2, found.mix, 1.0
    )
    once = LiveForecaster(verdict.calibrated, head, CalendarSpec()).advance(rest)
    step = LiveForecaster(verdict.calibrated, head, CalendarSpec())
    for value in rest:
        step.advance(np.array([value]))
    a, b = (x.forecast(DAY, (0.5, 0.95), 0.0).arrival_rate_rps for x in (once, step))
    np.testing.assert_allclose(a, b)


def test_quantiles_never_cross_and_a_gap_is_no_zero() -> None:
    found = series()
    verdict = train(found, CalendarSpec(), ("ridge",))
    live = LiveForecaster(verdict.calibrated, found, CalendarSpec())
    before = live.forecast(1, (0.5,), 0.0).arrival_rate_rps[0, 0]
    live.advance(np.full(1, np.nan))
    table = live.forecast(DAY, (0.05, 0.5, 0.95, 0.99), 0.0).arrival_rate_rps
    assert (np.diff(table, axis=1) >= 0).all()
    assert table[0, 1] > 0.5 * before


def test_last_days_cuts_the_front() -> None:
    cut = last_days(series(days=14), 3)
    assert cut.arrivals.size == 3 * DAY
    assert cut.end_s == series(days=14).end_s


def test_spread_tells_counting_noise_from_a_missed_tide() -> None:
    rng = np.random.default_rng(6)
    level = rng.uniform(20, 2000, 20_000)
    counted = rng.poisson(level) - level
    missed = 0.1 * level * rng.standard_normal(level.size)
    z = np.log1p((level + counted) / 50) - np.log1p(level / 50)
    share, noise = fit_spread(z, level, 50.0)
    assert share < 2e-4
    assert 0.9 < noise < 1.1
    share, noise = fit_spread(missed / (level + 50), level, 50.0)
    assert 0.009 < share < 0.011
    size = spread_at(np.array([0.0, 1.0]), np.array([100.0, 400.0]), 1e-6)
    np.testing.assert_allclose(size, [0.1, 0.05], rtol=1e-3)


def test_pool_follows_who_was_right_lately() -> None:
    slot_s, day = 3600.0, 24
    t = np.arange(14 * day)
    y = 100 + 80 * np.sin(2 * np.pi * t / day)
    y[9 * day :] = 100 + 80 * np.cos(2 * np.pi * t[9 * day :] / day)  # another shape since 5 days
    calendar = Calendar(START_S, slot_s, CalendarSpec())
    pool = Pool().fit(y[:, None], calendar, np.ones((y.size, 1), bool))
    truth = 100 + 80 * np.cos(2 * np.pi * np.arange(y.size, y.size + day) / day)
    found = pool.quantiles(range(1, day + 1), (0.5,))[:, 0, 0]
    week = SmoothNaive(7 * 86_400).fit(y[:, None], calendar, np.ones((y.size, 1), bool))
    worse = week.quantiles(range(1, day + 1), (0.5,))[:, 0, 0]
    assert np.abs(found - truth).mean() < 0.3 * np.abs(worse - truth).mean()


def test_correction_lets_go_of_a_season_that_is_none() -> None:
    rng = np.random.default_rng(8)
    actual = np.cumsum(0.05 * rng.standard_normal(6000))
    season = 0.5 * rng.standard_normal(6000)  # noise that calls itself a season
    residual = actual - season
    (weights,) = fit_correction(residual, residual_bank(residual, 300.0), (6,), season)
    assert weights[-1] > 0.6
    assert 0.6 < weights[0] <= 1.1
    found = season[6:] + shift(
        weights, residual_bank(residual, 300.0)[:-6], season[:-6], season[6:]
    )
    assert np.abs(found - actual[6:]).mean() < 0.5 * np.abs(residual[6:]).mean()
