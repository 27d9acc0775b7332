"""The champion stays until a challenger wins twice, or clearly; the cost of plans decides."""

from __future__ import annotations

import numpy as np
import pytest

from forecaster.seasonal.selection import Incumbent, MemberScore, _pick, plan_cost

COVER = ((0.5, 0.5), (0.99, 0.99))


def score(member: str, cost: float, loss: float = 0.1) -> MemberScore:
    return MemberScore(member, loss, loss, COVER, cost)


def pick(ridge: float, profile: float, incumbent: Incumbent | None):  # type: ignore[no-untyped-def]
    scores = [score("naive-day", 3.0, 0.2), score("ridge", ridge), score("profile", profile)]
    return _pick({each.member: each for each in scores}, incumbent)


@pytest.mark.parametrize(
    ("profile", "before", "champion", "wins"),
    [
        (1.50, None, "profile", 0),  # nobody serves: the cheapest
        (1.99, Incumbent("ridge"), "ridge", 0),  # cheaper by a hair
        (1.90, Incumbent("ridge"), "ridge", 1),  # a win
        (1.90, Incumbent("ridge", "profile", 1), "profile", 0),  # the second in a row
        (1.90, Incumbent("ridge", "boosting", 1), "ridge", 1),  # somebody else's win
        (1.99, Incumbent("ridge", "profile", 1), "ridge", 0),  # not in a row
        (1.60, Incumbent("ridge"), "profile", 0),  # clearly
        (2.50, Incumbent("ridge", "profile", 1), "ridge", 0),
        (1.90, Incumbent("no-longer-there"), "profile", 0),
    ],
)
def test_who_serves(profile: float, before: Incumbent | None, champion: str, wins: int) -> None:
    found = pick(2.0, profile, before)
    assert (found.champion, found.wins) == (champion, wins)
    assert found.challenger == ("profile" if wins else "")


def test_a_retrain_within_the_day_counts_no_win() -> None:
    scores = {
        each.member: each
        for each in (score("naive-day", 3.0, 0.2), score("ridge", 2.0), score("profile", 1.9))
    }
    for before, wins in ((Incumbent("ridge"), 0), (Incumbent("ridge", "profile", 1), 1)):
        found = _pick(scores, before, news=False)
        assert (found.champion, found.wins) == ("ridge", wins)
    clearly = scores | {"profile": score("profile", 1.6)}
    assert _pick(clearly, Incumbent("ridge"), news=False).champion == "profile"


def test_the_verdict_says_how_close_it_was() -> None:
    assert "profile is 5% cheaper, 1 of 2 wins" in pick(2.0, 1.9, Incumbent("ridge")).reason


def test_naive_gives_way_to_who_comes_closer_than_a_draw() -> None:
    scores = {
        each.member: each for each in (score("naive-day", 2.0, 0.1), score("ridge", 2.0, 0.125))
    }
    assert _pick(scores, None).champion == "ridge"
    assert _pick(scores, Incumbent("naive-day")).champion == "naive-day"


def test_cheap_is_what_holds_enough_and_no_more() -> None:
    actual = np.random.default_rng(1).normal(100, 10, (4000, 1))
    costs = [
        plan_cost(actual, np.full_like(actual, np.quantile(actual, level))).item()
        for level in (0.5, 0.9, 0.99, 0.9999)
    ]
    assert np.argmin(costs) == 2
    gap = actual.copy()
    gap[:100] = np.nan
    assert np.isfinite(plan_cost(gap, np.full_like(gap, 120.0))).all()
