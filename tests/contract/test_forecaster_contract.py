"""One suite over every forecaster: what the protocol promises."""

import numpy as np
import pytest

from forecaster.domain.errors import ModelError
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal import registry
from forecaster.seasonal.calendar import Calendar

SLOT_S, DAY = 1800.0, 48
LEVELS = (0.1, 0.5, 0.9, 0.99)


def tide(days: int = 10, series: int = 2, seed: int = 3) -> np.ndarray:
    t = np.arange(days * DAY)
    shape = 20 + 15 * np.sin(2 * np.pi * t / DAY)
    rng = np.random.default_rng(seed)
    scale = np.arange(1, series + 1)
    return rng.poisson(shape[:, None] * scale[None, :]).astype(float)


def calendar(timezone: str = "UTC") -> Calendar:
    return Calendar(1_735_689_600.0, SLOT_S, CalendarSpec(timezone))


@pytest.fixture(params=list(registry.MEMBERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def fitted(name: str, Y: np.ndarray, mask: np.ndarray | None = None):
    mask = np.ones(Y.shape, bool) if mask is None else mask
    return registry.make(name).fit(Y, calendar(), mask)


def test_refuses_to_forecast_before_fit(name: str) -> None:
    with pytest.raises(ModelError, match="not fitted"):
        registry.make(name).quantiles([1], LEVELS)


def test_refuses_nothing_to_learn(name: str) -> None:
    Y = tide(3)
    with pytest.raises(ModelError, match="nothing to learn"):
        registry.make(name).fit(Y, calendar(), np.zeros(Y.shape, bool))


def test_shape_order_and_sign(name: str) -> None:
    horizons = [1, 5, DAY, 3 * DAY]
    q = fitted(name, tide()).quantiles(horizons, LEVELS)
    assert q.shape == (4, 2, 4)
    assert np.isfinite(q).all()
    assert (q >= 0).all()
    assert (np.diff(q, axis=2) >= 0).all()


def test_leaves_its_input_alone_and_repeats_itself(name: str) -> None:
    Y = tide()
    before = Y.copy()
    first = fitted(name, Y).quantiles([1, DAY], LEVELS)
    np.testing.assert_array_equal(Y, before)
    np.testing.assert_array_equal(first, fitted(name, Y).quantiles([1, DAY], LEVELS))


def test_follows_a_strong_season(name: str) -> None:
    Y = tide(14)
    model = fitted(name, Y[:-DAY])
    median = model.quantiles(range(1, DAY + 1), (0.5,))[:, :, 0]
    error = np.abs(median - Y[-DAY:]).sum() / Y[-DAY:].sum()
    mean_only = np.abs(Y[:-DAY].mean(axis=0) - Y[-DAY:]).sum() / Y[-DAY:].sum()
    assert error < 0.5 * mean_only


def test_survives_gaps(name: str) -> None:
    Y = tide()
    mask = np.ones(Y.shape, bool)
    mask[100:130] = False
    Y[100:130] = 1e9  # whatever stands under a false mask is nobody's business
    q = fitted(name, Y, mask).quantiles([1, DAY], LEVELS)
    assert np.isfinite(q).all()
    assert q.max() < 1000


def test_update_is_the_next_slot(name: str) -> None:
    Y = tide(10)
    model = fitted(name, Y[:-2])
    for row in Y[-2:]:
        model.update(row)
    q = model.quantiles([1, DAY], LEVELS)
    assert q.shape == (2, 2, 4)
    assert np.isfinite(q).all()


def test_accepts_a_missing_update(name: str) -> None:
    model = fitted(name, tide()).update(np.array([np.nan, 3.0]))
    assert np.isfinite(model.quantiles([1], LEVELS)).all()


def test_refuses_the_past(name: str) -> None:
    with pytest.raises(ModelError, match="horizons"):
        fitted(name, tide()).quantiles([0], LEVELS)
