"""Boosted trees on other days, and the pool that has them among its seasons."""

import numpy as np
import pytest

from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.calendar import Calendar
from forecaster.seasonal.lagged import LaggedTrees
from forecaster.seasonal.naive import SeasonalNaive
from forecaster.seasonal.pool import Ensemble, Pool

SLOT_S, DAY, DAY_S = 3600.0, 24, 86_400.0
START_S = 1_735_689_600.0
CALENDAR = Calendar(START_S, SLOT_S, CalendarSpec())


def folding(days: int, series: int = 6) -> np.ndarray:
    """z whose days follow each other by a folded line (the tent map): no calendar has it, and no linear map says it."""
    rng = np.random.default_rng(3)
    level = [rng.uniform(0.2, 0.8, series)]
    while len(level) < days:
        level.append(0.95 * (1 - np.abs(2 * level[-1] - 1)) + 0.02)
    shape = 1.2 + np.sin(2 * np.pi * np.arange(DAY) / DAY)
    Z = (1 + np.array(level))[:, None] * shape[:, None]
    return Z.reshape(days * DAY, series) + rng.normal(0, 0.01, (days * DAY, series))


def missed(member: LaggedTrees | SeasonalNaive | Pool, known: int) -> float:
    """Mean error a day ahead."""
    Z = folding(40)
    member.fit_z(Z[: known * DAY], np.ones(6), CALENDAR)
    path = member.path(range(1, DAY + 1))
    return float(np.abs(path - Z[known * DAY : (known + 1) * DAY]).mean())


@pytest.mark.parametrize("known", [32, 33, 34])
def test_trees_find_what_no_calendar_and_no_line_says(known: int) -> None:
    trees = missed(LaggedTrees(), known)
    assert trees < 0.6 * missed(SeasonalNaive(DAY_S), known)
    assert trees < 0.6 * missed(Pool(), known)


def test_the_ensemble_weighs_them_by_what_they_said() -> None:
    pool, ensemble = Pool(), Ensemble()
    assert missed(ensemble, 33) < 0.8 * missed(pool, 33)
    assert [season.name for season in ensemble.seasons][-1] == "lagged"
    assert (ensemble.weights[-1] > 0.3).all()
    assert ensemble.weights.sum(axis=0) == pytest.approx(np.ones(6))


def test_little_history_is_yesterday_once_more() -> None:
    Z = folding(5)
    path = LaggedTrees().fit_z(Z, np.ones(6), CALENDAR).path(range(1, 2 * DAY + 1))
    assert np.array_equal(path[:DAY], Z[-DAY:])
    assert np.array_equal(path[DAY:], Z[-DAY:])


def test_gaps_do_not_teach_and_the_path_has_none() -> None:
    Z = folding(33)
    Z[20 * DAY : 21 * DAY + 5, 2] = np.nan
    Z[:, 5] = np.nan  # a series of which nothing was seen
    path = LaggedTrees().fit_z(Z, np.ones(6), CALENDAR).path(range(1, DAY + 1))
    assert np.isfinite(path[:, :5]).all()
    came, before = np.split(folding(34)[32 * DAY :], 2)[::-1]
    assert np.abs(path[:, 2] - came[:, 2]).mean() < 0.8 * np.abs(before - came)[:, 2].mean()


def test_the_same_history_says_the_same() -> None:
    Z = folding(30)
    one, other = (LaggedTrees().fit_z(Z, np.ones(6), CALENDAR).path(range(1, 73)) for _ in range(2))
    assert np.array_equal(one, other)
