"""A service born an hour ago: something useful is said, its width is honest, and it narrows."""

import numpy as np
import pytest

from forecaster.domain.demand import DemandSeries, TokenMix
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.cold import WEEK_HOURS, Prior, begin, prior_of, week_shape

SLOT_S, DAY, HOUR = 300.0, 288, 12
START_S = 1_736_121_600.0 + 10 * 3600  # a Monday, ten o'clock
LEVELS = (0.05, 0.5, 0.95)
SPEC = CalendarSpec()


def shape(seed: int, spread: float = 0.25) -> np.ndarray:
    """A week by the hour: the tide of all services, and what this one has of its own."""
    rng = np.random.default_rng(seed)
    hour = np.arange(WEEK_HOURS) % 24
    common = 1 + 0.8 * np.sin(2 * np.pi * (hour - 9) / 24)
    own = 0.4 * rng.standard_normal() * np.cos(2 * np.pi * hour / 24)
    own += spread * np.repeat(rng.standard_normal(WEEK_HOURS // 4), 4)
    found = common * np.exp(own * spread / 0.25 * 0.5)
    return found / found.mean()


OTHERS = [shape(seed).tolist() for seed in range(20)]


def rate(of: np.ndarray, slots: int, level: float = 40.0) -> np.ndarray:
    """Requests a slot from `START_S` on."""
    hour = ((START_S - 1_736_121_600.0) / 3600 + np.arange(slots) / HOUR).astype(int) % WEEK_HOURS
    return level * of[hour]


def series(y: np.ndarray) -> DemandSeries:
    none = np.zeros(y.size)
    return DemandSeries("new", START_S, SLOT_S, y, none, none, TokenMix(0, 0, 0, 0, 0), 1.0)


def said(y: np.ndarray, prior: Prior) -> np.ndarray:
    return begin(series(y), SPEC, prior, 1.0).forecast(DAY, LEVELS, 0.0).arrival_rate_rps * SLOT_S


def wape(actual: np.ndarray, median: np.ndarray) -> float:
    return float(np.abs(actual - median).sum() / actual.sum())


def test_an_hour_and_other_services_foretell_the_day() -> None:
    errors, flat, inside = [], [], []
    for seed in range(100, 112):
        truth = rate(shape(seed), HOUR + DAY)
        y = np.random.default_rng(seed).poisson(truth).astype(float)
        found = said(y[:HOUR], prior_of(OTHERS))
        errors.append(wape(truth[HOUR:], found[:, 1]))
        flat.append(wape(truth[HOUR:], np.full(DAY, y[:HOUR].mean())))
        inside.append(((y[HOUR:] >= found[:, 0]) & (y[HOUR:] <= found[:, 2])).mean())
    assert np.mean(errors) < 0.45
    assert np.mean(errors) < 0.7 * np.mean(flat)
    assert 0.85 < np.mean(inside) <= 1.0


def test_the_band_narrows_as_data_come() -> None:
    truth = rate(shape(100), 4 * DAY, level=2000.0)
    y = np.random.default_rng(1).poisson(truth).astype(float)
    widths = [
        float(np.log(found[:, 2] / found[:, 0]).mean())
        for found in (said(y[:slots], prior_of(OTHERS)) for slots in (1, HOUR, DAY, 2 * DAY))
    ]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.6 * widths[1]


def test_a_day_drawn_in_the_settings_speaks_before_the_first_request() -> None:
    drawn = [0.1] * 8 + [1.0] * 12 + [0.1] * 4
    found = said(np.zeros(0), prior_of([], drawn)) / SLOT_S
    local = (10 + np.arange(DAY) / HOUR) % 24
    np.testing.assert_allclose(found[local < 7, 1], 0.1, rtol=0.15)
    np.testing.assert_allclose(found[(local > 9) & (local < 19), 1], 1.0, rtol=0.15)
    assert (found[:, 2] > 1.8 * found[:, 1]).all()


def test_what_comes_overrules_what_was_drawn() -> None:
    found = said(np.full(6 * HOUR, 900.0), prior_of([], [1.0] * 24)) / SLOT_S
    np.testing.assert_allclose(found[:HOUR, 1], 3.0, rtol=0.2)


def test_alone_it_is_flat_and_says_how_little_that_is() -> None:
    y = np.random.default_rng(2).poisson(40.0, HOUR).astype(float)
    found = said(y, prior_of([]))
    np.testing.assert_allclose(found[:, 1], y.mean(), rtol=0.2)
    wide = np.log(found[:, 2] / found[:, 1])
    assert wide[-HOUR:].mean() > 2 * wide[0]
    assert wide[-1] > 0.8


def test_a_week_is_its_shape() -> None:
    truth = shape(3)
    y = rate(truth, 14 * DAY)
    np.testing.assert_allclose(week_shape(series(y), SPEC), truth, rtol=1e-6)
    half_day = week_shape(series(y[: DAY // 2]), SPEC)
    assert half_day.size == WEEK_HOURS
    assert np.isfinite(half_day).all()


@pytest.mark.parametrize("count", [1, 3, 40])
def test_more_services_make_the_prior_surer(count: int) -> None:
    assert prior_of(OTHERS[:1]).deviation >= prior_of(OTHERS[:3]).deviation - 0.1
    assert prior_of((OTHERS * 2)[:count]).deviation < prior_of([]).deviation
