"""A retrain goes on from what was foretold; what it depends on makes it begin anew."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest

from forecaster.config.settings import RetrainSettings, ServiceSettings, Settings
from forecaster.domain.demand import LogSource, RequestBatch
from forecaster.seasonal.folds import Folds
from forecaster.store import ModelRow, Store
from forecaster.store.rows import Taught
from forecaster.wiring.retrain import Terms, retrain

START_S = 1_767_571_200.0  # 2026-01-05 00:00 UTC, a Monday
DAY_S = 86_400.0
SETTINGS = Settings(retrain=RetrainSettings(slot_s=900))


def ingest(store: Store, name: str, first_day: int, days: int) -> None:
    rng = np.random.default_rng(first_day)
    minute = np.arange(first_day * 1440, (first_day + days) * 1440)
    counts = rng.poisson(2 + np.sin(2 * np.pi * minute / 1440))
    at = START_S + 60 * np.repeat(minute, counts) + 60 * rng.random(counts.sum())
    none = np.zeros(at.size, np.int64)
    new = LogSource(0, 1, f"{name}{first_day}", "", "log")
    store.append_requests(new, new, [RequestBatch(name, np.sort(at), none, none)])


def starts(dsn: str) -> list[float]:
    """Days, since the first, from which something is foretold."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("select extract(epoch from start)::float8 from fold order by 1")
        return [(row[0] - START_S) / DAY_S for row in rows]


@pytest.fixture
def taught(store: Store) -> Store:
    ingest(store, "chat", 0, 6)
    retrain(store, SETTINGS, ["chat"], Terms(jobs=1), START_S + 6 * DAY_S)
    return store


def test_a_day_more_is_a_row_more(taught: Store, dsn: str) -> None:
    assert starts(dsn) == [3, 4, 5, 6]
    retrain(taught, SETTINGS, ["chat"], Terms(jobs=1), START_S + 6 * DAY_S)
    assert starts(dsn) == [3, 4, 5, 6]
    ingest(taught, "chat", 6, 1)
    done = retrain(taught, SETTINGS, ["chat"], Terms(jobs=1), START_S + 7 * DAY_S)
    assert [each.verdict.champion for each in done.reports] == ["pool"]
    assert starts(dsn) == [3, 4, 5, 6, 7]


def test_other_settings_and_fresh_begin_anew(taught: Store, dsn: str) -> None:
    ingest(taught, "chat", 6, 1)
    tokyo = ServiceSettings(name="chat", unit="", timezone="Asia/Tokyo")
    moved = SETTINGS.model_copy(update={"service": (tokyo,)})
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("update fold set scale = 7e7")  # who went on would show it
        retrain(taught, moved, ["chat"], Terms(jobs=1), START_S + 7 * DAY_S)
        assert connection.execute("select max(scale) < 100 from fold").fetchone() == (True,)
        connection.execute("update fold set scale = 7e7")
        retrain(taught, moved, ["chat"], Terms(jobs=1, fresh=True), START_S + 7 * DAY_S)
        assert connection.execute("select max(scale) < 100 from fold").fetchone() == (True,)


def test_what_was_said_comes_back_to_a_tenth_of_a_per_cent(store: Store) -> None:
    ingest(store, "chat", 0, 1)
    said = np.random.default_rng(0).uniform(0.5, 900.0, (2, 288))
    error = np.array([[np.nan, 2.0], [3.0, 4.0]])
    folds = {"pool": Folds(START_S, said, error)}
    store.learning.keep([Taught(ModelRow("chat", START_S, "pool", 900.0), "one", folds, False)])
    (known,) = store.learning.known({"chat": "one"}, 42.0, 4e9, 900.0, False)
    assert known.folds["pool"].first_s == START_S
    np.testing.assert_allclose(known.folds["pool"].said, said, rtol=2e-3)
    np.testing.assert_array_equal(known.folds["pool"].error, error)
    (other,) = store.learning.known({"chat": "two"}, 42.0, 4e9, 900.0, False)
    assert other.folds == {}
