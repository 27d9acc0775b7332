"""What is not the service's own tide is found and named; what is, is left alone."""

import numpy as np
import pytest

from forecaster.demand.anomalies import found_in, judged, labelled, untaught
from forecaster.domain.anomaly import AnomalyKind, Judgement

SLOT_S, DAY, HOUR = 300.0, 288, 12
START_S = 1_736_121_600.0  # Monday 2025-01-06
DAYS = 14


def tide(days: int = DAYS, level: float = 100.0, seed: int = 1) -> np.ndarray:
    t = np.arange(days * DAY)
    weekend = np.where(t // DAY % 7 >= 5, 0.5, 1.0)
    rate = level * weekend * (1 + 0.8 * np.sin(2 * np.pi * (t / DAY - 0.25)))
    return np.random.default_rng(seed).poisson(rate + 5.0).astype(float)


def at(day: int, hour: float) -> int:
    return day * DAY + round(hour * HOUR)


def kinds(y: np.ndarray, **given: object) -> list[str]:
    return [each.kind.value for each in found_in(y, START_S, SLOT_S, **given)]  # type: ignore[arg-type]


def flash_crowd(y: np.ndarray) -> slice:
    where = slice(at(8, 10), at(8, 12))
    ahead = np.arange(where.stop - where.start)
    y[where] *= 1 + 5 * np.minimum(ahead / 2, 1) * np.exp(-ahead / 9)
    return where


def load_test(y: np.ndarray) -> slice:
    where = slice(at(9, 3), at(9, 4.5))
    y[where] += np.random.default_rng(5).poisson(600, where.stop - where.start)
    return where


def outage(y: np.ndarray) -> slice:
    where = slice(at(7, 11), at(7, 12.5))
    y[where] = np.round(0.03 * y[where])
    return where


def gap(y: np.ndarray) -> slice:
    where = slice(at(6, 9), at(6, 15))
    y[where] = np.nan
    return where


def retry_storm(y: np.ndarray) -> slice:
    y[at(10, 12) : at(10, 12.5)] = np.nan
    where = slice(at(10, 12.5), at(10, 13))
    y[where] *= 4
    return where


def lid(y: np.ndarray) -> slice:
    where = slice(at(9, 9), at(9, 15))
    y[where] = np.minimum(y[where], 110.0)
    return where


@pytest.mark.parametrize(
    ("happens", "kind"),
    [
        (flash_crowd, "flash-crowd"),
        (load_test, "load-test"),
        (outage, "outage"),
        (gap, "gap"),
        (retry_storm, "retry-storm"),
        (lid, "throttled"),
    ],
)
def test_each_kind_is_named_where_it_was(happens, kind: str) -> None:  # type: ignore[no-untyped-def]
    y = tide()
    where = happens(y)
    found = [each for each in found_in(y, START_S, SLOT_S) if each.kind.value == kind]
    assert len(found) == 1
    begin, end = (found[0].start_s - START_S) / SLOT_S, (found[0].end_s - START_S) / SLOT_S
    assert abs(begin - where.start) <= HOUR / 2
    # a crowd fades; a lid is named by whole hours
    assert abs(end - where.stop) <= HOUR
    mask = untaught(y[:, None], START_S, SLOT_S)[:, 0]
    inside = mask[where].mean()
    assert inside > 0.6
    assert mask[: where.start - HOUR].mean() < 0.01 or kind == "retry-storm"


def test_size_says_how_many_times_the_usual() -> None:
    y = tide()
    load_test(y)
    (test,) = found_in(y, START_S, SLOT_S)
    usual = tide()[at(9, 3) : at(9, 4.5)].sum()
    assert test.size == pytest.approx(y[at(9, 3) : at(9, 4.5)].sum() / usual, rel=0.25)
    assert "times the usual" in test.why


def test_an_ordinary_fortnight_has_nothing_to_name() -> None:
    for seed in range(5):
        assert kinds(tide(seed=seed)) == []


def test_a_new_level_is_a_level() -> None:
    up, down = tide(), tide()
    up[at(8, 10) :] *= 6
    down[at(8, 10) :] = np.round(down[at(8, 10) :] * 0.05)
    assert kinds(up) == []
    assert kinds(down) == []


def test_what_has_not_ended_is_not_named_yet() -> None:
    y = tide()
    end = at(13, 12)
    y[end - 6 : end] *= 5
    assert kinds(y[:end]) == []
    assert kinds(y[: end + 2 * HOUR]) == ["load-test"]


def test_jobs_that_come_again_are_a_season() -> None:
    daily, weekly, half_hourly = tide(), tide(), tide()
    for day in range(DAYS):
        daily[at(day, 3) : at(day, 3.5)] += 700
    for day in (2, 9):
        weekly[at(day, 3) : at(day, 4)] += 700
    half_hourly[::6] += 500
    assert kinds(daily) == kinds(weekly) == kinds(half_hourly) == []


def test_a_service_of_bursts_is_what_it_is() -> None:
    rng = np.random.default_rng(3)
    y = tide()
    for start in rng.integers(DAY, y.size - DAY, 60):
        y[start : start + 5] *= rng.uniform(5, 20)
    assert kinds(y) == []


def test_holidays_and_events_are_known_and_not_named() -> None:
    y = tide()
    where = flash_crowd(y)
    known = np.zeros(y.size, bool)
    known[where] = True
    assert kinds(y, known=known) == []


def test_a_surge_of_refused_requests_is_a_retry_storm() -> None:
    y = tide()
    where = flash_crowd(y)
    failed = np.zeros(y.size)
    failed[where] = 0.4
    assert kinds(y, failed=failed) == ["retry-storm"]


def test_an_operator_has_the_last_word() -> None:
    y = tide()
    where = load_test(y)
    found = found_in(y, START_S, SLOT_S)
    span = (found[0].start_s, found[0].end_s)
    mask = untaught(y[:, None], START_S, SLOT_S)
    keep = Judgement(*span, keep=True, why="Mondays now")
    assert not judged(mask.copy(), START_S, SLOT_S, (keep,)).any()
    assert labelled(found, (keep,))[0].taught
    assert "Mondays now" in labelled(found, (keep,))[0].why
    drop = Judgement(START_S, START_S + 3600, keep=False)
    both = judged(mask.copy(), START_S, SLOT_S, (keep, Judgement(*span, keep=False), drop))
    assert both[where].mean() > 0.6
    assert both[:HOUR].all()
    assert labelled(found, (drop,))[0].kind is AnomalyKind.BY_HAND


def test_three_days_know_gaps_only() -> None:
    y = tide(3)
    y[300:320] = np.nan
    y[400:410] *= 9
    assert kinds(y) == ["gap"]


def test_one_of_many_is_found_as_if_alone() -> None:
    fine, crowd = tide(seed=2), tide(seed=3)
    flash_crowd(crowd)
    together = untaught(np.column_stack([fine, crowd]), START_S, SLOT_S)
    assert not together[:, 0].any()
    np.testing.assert_array_equal(together[:, 1:], untaught(crowd[:, None], START_S, SLOT_S))
