"""Correction, calibration, backtest, selection and the live forecaster."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import nnls

from forecaster.domain.demand import DemandSeries, TokenMix
from forecaster.domain.errors import SettingError, TooLittleHistoryError
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.backtest import History, Verified, backtest, first_slot
from forecaster.seasonal.bank import residual_bank
from forecaster.seasonal.calendar import Calendar
from forecaster.seasonal.calibration import LEVELS, conformal_quantiles
from forecaster.seasonal.champion import Calibrated, Calibration, calibrate, centre_z, sure_median
from forecaster.seasonal.correction import MATURE_DAYS, fit_correction, mature, non_negative
from forecaster.seasonal.events import learn_lifts
from forecaster.seasonal.live import LiveForecaster
from forecaster.seasonal.naive import SeasonalNaive
from forecaster.seasonal.pool import SMOOTH_S, Pool
from forecaster.seasonal.ridge import CalendarRidge
from forecaster.seasonal.spread import fit_spread, spread_at
from forecaster.seasonal.training import last_days, train, train_together

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


def verified(actual_z: np.ndarray, season_z: np.ndarray) -> Verified:
    """What five-minute slots would have been verified as, with the same season on both days."""
    actual_z, base_z = actual_z[:, None], np.stack([season_z, season_z])[:, :, None]
    bank = residual_bank(actual_z - base_z[0], 300.0)
    lifts = learn_lifts(actual_z, Calendar(START_S, 300.0, CalendarSpec()))
    return Verified(
        CalendarRidge(), 576, 300.0, np.ones(1), np.expm1(actual_z), actual_z, base_z, bank, lifts,
        said=np.empty(0), error=np.empty(0),
    )  # fmt: skip


def test_conformal_rank_is_the_finite_sample_one() -> None:
    errors = np.arange(1.0, 100.0)[:, None]  # 99 errors: the 0.99 quantile is the 99th of 100
    assert conformal_quantiles(errors, np.ones(99), (0.5, 0.99)).ravel().tolist() == [50, 99]


def test_levels_beyond_the_furthest_error_go_on_as_a_normal_tail() -> None:
    errors = np.arange(-7.0, 8.0)[:, None]  # the 0.95 and the 0.05 of fifteen are out of reach
    low, least, middle, most, high = conformal_quantiles(
        errors, np.ones(15), (0.01, 0.05, 0.5, 0.95, 0.99)
    ).ravel()
    assert (least, middle, most) == (-7.0, 0.0, 7.0)
    assert high == pytest.approx(7.0 * 2.3263 / 1.6449, rel=1e-3)
    assert low == pytest.approx(-high)
    many = np.random.default_rng(1).normal(size=(5000, 1))
    within = conformal_quantiles(many, np.ones(5000), (0.5, 0.95, 0.99)).ravel()
    assert set(within) <= set(many.ravel())  # enough errors speak for themselves


def test_conformal_listens_to_recent_errors_and_leaves_out_missing_ones() -> None:
    errors = np.array([[1.0], [2.0], [3.0], [np.nan]])
    weight = np.array([1.0, 1.0, 8.0, 50.0])
    assert conformal_quantiles(errors, weight, (0.5,)).item() == 3.0
    assert conformal_quantiles(np.full((4, 1), np.nan), weight, (0.5,)).item() == 0.0


def test_conformal_covers_fresh_errors() -> None:
    rng = np.random.default_rng(0)
    learnt, fresh = rng.standard_normal((2, 400, 200))
    cover = fresh <= conformal_quantiles(learnt, np.ones(400), (0.95,))
    assert 0.94 < cover.mean() < 0.965


def test_correction_learns_how_a_deviation_fades() -> None:
    rng = np.random.default_rng(4)
    residual = np.zeros(4000)
    for t in range(1, residual.size):
        residual[t] = 0.9 * residual[t - 1] + 0.1 * rng.standard_normal()
    found = verified(residual, np.zeros(4000))
    weights = fit_correction(found, (1, 8, 64))
    weights = weights[:, :-1, 0].sum(axis=1)
    assert 0.8 < weights[0] <= 1.0
    assert weights[0] > weights[1] > abs(weights[2])


def test_bank_carries_over_gaps() -> None:
    bank = residual_bank(np.array([[1.0], [np.nan], [np.nan]]), 300.0)
    np.testing.assert_array_equal(bank[0], bank[2])


@pytest.mark.parametrize("member", ["naive-day", "ridge", "pool"])
def test_backtest_sees_only_the_past(member: str) -> None:
    found = series()
    calendar = Calendar(START_S, SLOT_S, CalendarSpec())
    y = found.arrivals[:, None]
    first = first_slot(y.size, DAY)
    honest = backtest(member, History.of(y, calendar), first)
    spoilt = y.copy()
    spoilt[first + DAY :] = spoilt[first + DAY :][::-1]  # the future changes, its mean does not
    other = backtest(member, History.of(spoilt, calendar), first)
    np.testing.assert_array_equal(honest.base_z[0, :DAY], other.base_z[0, :DAY])
    np.testing.assert_array_equal(honest.base_z[1, : 2 * DAY], other.base_z[1, : 2 * DAY])
    assert not np.array_equal(honest.base_z[0, DAY : 3 * DAY], other.base_z[0, DAY : 3 * DAY])


def test_an_origin_late_in_the_day_has_the_season_of_its_morning() -> None:
    found = verified(np.zeros(3 * 288), np.zeros(3 * 288))
    said = found.base_z.copy()
    said[0], said[1] = 1.0, 2.0  # by the target's own day, by the day before
    late = np.array([287 - 10])
    season = (
        replace(found, base_z=said).season_z(late, 5),
        replace(found, base_z=said).season_z(late, 20),
    )
    assert [each.item() for each in season] == [1.0, 2.0]


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
    y = np.column_stack([found.arrivals, 2 * found.arrivals])
    calendar = Calendar(START_S, SLOT_S, CalendarSpec())
    learnt = calibrate(backtest("ridge", History.of(y, calendar), 300))
    one = learnt.of(1)
    assert Calibrated.from_dict(one.to_dict()) == one
    joined = Calibration.join([learnt.of(0), one])
    np.testing.assert_array_equal(joined.quantiles, learnt.quantiles)


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
    errors = np.column_stack([z, missed / (level + 50)])
    share, noise = fit_spread(errors, np.column_stack([level, level]) / 50)
    assert share[0] < 2e-4
    assert 0.9 < noise[0] * 50 < 1.1
    assert 0.009 < share[1] < 0.011
    size = spread_at(np.array([[0.0], [1.0]]), np.array([[100.0], [400.0]]))
    np.testing.assert_allclose(size.ravel(), [10 / 101, 20 / 401], rtol=1e-6)


def test_pool_follows_who_was_right_lately() -> None:
    slot_s, day = 3600.0, 24
    t = np.arange(14 * day)
    y = 100 + 80 * np.sin(2 * np.pi * t / day)
    y[9 * day :] = 100 + 80 * np.cos(2 * np.pi * t[9 * day :] / day)  # another shape since 5 days
    calendar = Calendar(START_S, slot_s, CalendarSpec())
    pool = Pool().fit(y[:, None], calendar, np.ones((y.size, 1), bool))
    truth = 100 + 80 * np.cos(2 * np.pi * np.arange(y.size, y.size + day) / day)
    found = pool.quantiles(range(1, day + 1), (0.5,))[:, 0, 0]
    week = SeasonalNaive(7 * 86_400, SMOOTH_S).fit(y[:, None], calendar, np.ones((y.size, 1), bool))
    worse = week.quantiles(range(1, day + 1), (0.5,))[:, 0, 0]
    assert np.abs(found - truth).mean() < 0.3 * np.abs(worse - truth).mean()


def test_correction_lets_go_of_a_season_that_is_none() -> None:
    rng = np.random.default_rng(8)
    actual = np.cumsum(0.05 * rng.standard_normal(6000))
    season = 0.5 * rng.standard_normal(6000)  # noise that calls itself a season
    past, residual = verified(actual, season), actual - season
    weights = fit_correction(past, (6,))[0]
    assert weights[-1, 0] > 0.6
    assert 0.6 < weights[0, 0] <= 1.1
    found = centre_z(past, weights, np.arange(5994), 6)[:, 0]
    assert np.abs(found - actual[6:]).mean() < 0.5 * np.abs(residual[6:]).mean()


def test_correction_is_never_worse_than_the_last_value_where_that_is_right() -> None:
    rng = np.random.default_rng(9)
    steps = np.repeat(rng.uniform(1.0, 3.0, 60), 100)  # jumps, then stays: nothing fades
    past = verified(steps, np.full(6000, 2.0))
    weights = fit_correction(past, (1,))[0]
    found = centre_z(past, weights, np.arange(5999), 1)[:, 0]
    last = np.abs(np.diff(steps)).mean()
    assert np.abs(found - steps[1:]).mean() < 1.05 * last


def test_batched_non_negative_least_squares_agrees_with_scipy() -> None:
    rng = np.random.default_rng(10)
    A, y = rng.standard_normal((5, 30, 6)), rng.standard_normal((5, 30))
    gram, moment = A.transpose(0, 2, 1) @ A, np.einsum("nik,ni->nk", A, y)
    found = non_negative(gram, moment)
    for n in range(5):
        np.testing.assert_allclose(found[n], nnls(A[n], y[n])[0], atol=1e-4)


@pytest.mark.parametrize("member", ["mstl", "structural", "ensemble"])
def test_what_is_for_coarse_slots_says_so(member: str) -> None:
    calendar = Calendar(START_S, 300.0, CalendarSpec())
    with pytest.raises(SettingError, match=r"not meant for slots of 300 s.*retrain\.slot_s"):
        train_together(np.ones((4 * 288, 1)), calendar, (member,))


def test_a_median_is_moved_by_what_chance_does_not_explain() -> None:
    bias = np.linspace(-2.0, 2.0, len(LEVELS))[:, None] + 0.4
    few, many = (sure_median(bias, n)[LEVELS.index(0.5), 0] for n in (4.0, 10_000.0))
    known = bias[LEVELS.index(0.5), 0]
    assert few == 0.0
    assert 0.9 * known < many < known


def test_a_season_that_had_seen_little_does_not_teach_the_correction() -> None:
    day, first = 288, 576
    slots = 30 * day
    found = verified(np.zeros(slots), np.zeros(slots))
    origins = np.arange(0, slots - 1, 7)
    kept = mature(found, origins)
    assert kept.min() == pytest.approx((slots - first) / 2, abs=7)  # half of 32 days had been seen
    assert kept.max() == origins.max()
    short = verified(np.zeros(16 * day), np.zeros(16 * day))
    assert mature(short, np.arange(16 * day)).min() == (16 - MATURE_DAYS) * day
    brief = verified(np.zeros(10 * day), np.zeros(10 * day))
    assert mature(brief, np.arange(10 * day)).size == 10 * day  # nothing to spare
