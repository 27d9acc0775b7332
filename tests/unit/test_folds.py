"""Folds: a training goes on from what was said before, and says only what is due."""

from dataclasses import replace

import numpy as np
import pytest

from forecaster.domain.demand import DemandSeries, TokenMix
from forecaster.domain.service import CalendarSpec
from forecaster.seasonal.calendar import Calendar
from forecaster.seasonal.folds import goes_on
from forecaster.seasonal.training import Learnt, Lesson, Trained, train_batch, train_together

START_S = 1_767_571_200.0  # 2026-01-05 00:00 UTC, a Monday
SLOT_S, DAY, DAY_S = 900.0, 96, 86_400.0


def demand(days: float, seed: int = 1, level: float = 40.0) -> np.ndarray:
    t = np.arange(40 * DAY)
    tide = level * (1.2 + np.sin(2 * np.pi * t / DAY)) * (1 - 0.3 * (t // DAY % 7 >= 5))
    return np.random.default_rng(seed).poisson(tide).astype(float)[: round(days * DAY)]


def trained(y: np.ndarray, before: Trained | None = None) -> Trained:
    calendar = Calendar(START_S, SLOT_S, CalendarSpec())
    return train_together(
        y[:, None], calendar, ("pool",), kept=before.kept() if before is not None else None
    )


def lesson(y: np.ndarray, before: Learnt | None = None, name: str = "s") -> Lesson:
    series = DemandSeries(name, START_S, SLOT_S, y, y, y, TokenMix.of(1, 1), 1.0)
    return Lesson(series, CalendarSpec(), ("pool",), folds=before.folds if before else {})


def learnt(*lessons: Lesson) -> list[Learnt]:
    found = [each for each in train_batch(lessons) if isinstance(each, Learnt)]
    assert len(found) == len(lessons)
    return found


def test_day_by_day_it_learns_what_a_backtest_learns() -> None:
    y = demand(13)
    found = trained(y[: 10 * DAY])
    for day in (11, 12, 13):
        found = trained(y[: day * DAY], found)
        assert found.verified["pool"].fresh == 1
    whole = trained(y)
    ours, theirs = found.verified["pool"], whole.verified["pool"]
    assert ours.first == theirs.first
    np.testing.assert_allclose(found.kept().said["pool"], whole.kept().said["pool"], rtol=2e-3)
    np.testing.assert_allclose(
        found.kept().error["pool"][1:], whole.kept().error["pool"][1:], rtol=1e-3
    )
    ours_q, theirs_q = (np.array(each.verdicts[0].calibrated.quantiles) for each in (found, whole))
    np.testing.assert_allclose(ours_q, theirs_q, atol=0.01)


def test_what_was_said_stays_said_whatever_is_learnt_later() -> None:
    y = demand(11)
    before = trained(y[: 10 * DAY])
    late = y.copy()
    late[5 * DAY : 6 * DAY] *= 1.5
    after = trained(late, before)
    said, then = (each.kept().said["pool"] for each in (after, before))
    np.testing.assert_allclose(said[:-1], then, rtol=1e-4)
    verified = after.verified["pool"]
    assert verified.actual[5 * DAY - verified.first, 0] == late[5 * DAY]


def test_within_the_day_nothing_new_is_said_but_more_is_verified() -> None:
    y = demand(10.25)
    before = trained(y[: 10 * DAY])
    after = trained(y, before)
    assert after.verified["pool"].fresh == 0
    assert after.folds(0, START_S) == {}
    assert after.verified["pool"].actual.shape[0] == before.verified["pool"].actual.shape[0] + 24


def test_days_that_nobody_trained_on_are_said_afterwards() -> None:
    y = demand(14)
    after = trained(y, trained(y[: 10 * DAY]))
    assert after.verified["pool"].fresh == 4


def test_no_more_is_verified_than_the_last_weeks() -> None:
    y = demand(34)
    found = trained(y[: 32 * DAY])
    for day in (33, 34):
        found = trained(y[: day * DAY], found)
        assert found.verified["pool"].actual.shape[0] == 28 * DAY


def test_the_folds_of_a_lesson_are_those_of_its_training() -> None:
    y = demand(11)
    (first,) = learnt(lesson(y[: 10 * DAY]))
    (second,) = learnt(lesson(y, first))
    assert (first.anew, second.anew) == (True, False)
    assert second.folds["pool"].said.shape[0] == 1
    assert second.folds["pool"].first_s == first.folds["pool"].last_s(SLOT_S) + DAY_S


def test_services_of_one_batch_go_on_or_begin_each_for_itself() -> None:
    y, other = demand(11), demand(11, seed=2, level=5.0)
    (first,) = learnt(lesson(y[: 10 * DAY]))
    (alone,) = learnt(lesson(y, first))
    both = learnt(lesson(y, first), lesson(other, name="t"))
    assert [each.anew for each in both] == [False, True]
    np.testing.assert_allclose(
        both[0].verdict.calibrated.quantiles, alone.verdict.calibrated.quantiles, atol=1e-6
    )


def test_logs_that_end_within_the_hour_train_together() -> None:
    y = demand(10)
    whole, short = learnt(lesson(y), lesson(y[:-1], name="t"))
    assert whole.folds["pool"].first_s == short.folds["pool"].first_s


@pytest.mark.parametrize(
    ("slots", "start_s", "members", "fits"),
    [
        (11 * DAY, START_S, ("pool",), True),
        (10 * DAY, START_S, ("pool",), True),
        (11 * DAY, START_S + 3 * DAY_S, ("pool",), True),  # the history was cut
        (11 * DAY, START_S, ("pool", "ridge"), False),  # nobody asked the ridge
        (11 * DAY, START_S + 60.0, ("pool",), False),  # another grid
        (9 * DAY, START_S, ("pool",), False),  # it speaks of days to come only
        (39 * DAY, START_S, ("pool",), False),  # long ago
        (11 * DAY, START_S + 9 * DAY_S, ("pool",), False),  # what it learnt from is gone
    ],
)
def test_a_training_goes_on_where_what_is_kept_fits(
    slots: int, start_s: float, members: tuple[str, ...], fits: bool
) -> None:
    (first,) = learnt(lesson(demand(10)))
    assert goes_on(first.folds, members, start_s, SLOT_S, slots) == fits
    shorter = {"pool": replace(first.folds["pool"], said=first.folds["pool"].said[:, :-1])}
    assert not goes_on(shorter, members, start_s, SLOT_S, slots)
